#!/bin/sh
# Make ./configure and what it needs.  Wants autoconf, automake, libtool, libltdl-dev, pkg-config.
cd "$(dirname "$0")" && mkdir -p m4 && exec autoreconf --force --install
