#!/bin/sh
# The protocol is pure: bytes and `now` in, bytes, deliveries and deadlines out.  So the objects of
# these files call nothing that reads a clock, opens a descriptor, takes a lock, allocates past the
# pool or makes random numbers.
. "${top_srcdir:-.}/tests/support/tap.sh"

clock='clock_.*|gettimeofday|time|times|nanosleep|usleep|sleep|timer.*|localtime.*|gmtime.*'
files='open.*|fopen.*|close|read|write|readv|writev|pread.*|pwrite.*|ioctl|fcntl.*|dup.*|pipe.*'
sockets='socket.*|connect|accept.*|bind|listen|send.*|recv.*|poll|ppoll|select|epoll_.*|eventfd.*'
locks='pthread_.*|sem_.*|mtx_.*|cnd_.*|thrd_.*|futex|syscall'
memory='malloc|calloc|realloc.*|aligned_alloc|posix_memalign|memalign|strdup|strndup|.*asprintf|mmap.*'
random='rand.*|srand.*|random.*|drand48|getrandom|getentropy|arc4random.*'
banned="^(__)?($clock|$files|$sockets|$locks|$memory|$random)(_chk)?\$"

pure() { # object
    ! "$NM" --undefined-only "$1" | awk '{ sub(/@.*/, "", $2); print $2 }' | grep -E "$banned"
}

tested=0
for stem in buf mac utf8 chunk stream msg frame schemas txbuf attach guard session arrow_check arrow_export \
    arrow_hold arrow_read arrow_schema arrow_type arrow_write datum pickle; do
    for source in "$top_srcdir/core/$stem.c" "$top_srcdir/core/${stem}"_*.c; do
        [ -e "$source" ] || continue
        name=${source##*/}
        object=$top_builddir/core/.libs/libnqcore_la-${name%.c}.o
        if [ -e "$object" ]; then
            check "$name is pure" pure "$object"
        else
            not_ok "$name is pure: $object is missing"
        fi
        tested=$((tested + 1))
    done
done
[ $tested -gt 0 ] || skip_all "no pure file is there"
tap_done
