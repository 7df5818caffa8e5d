# For packages with transports of libnetqueue: dh_netqueue is run where dependencies are gathered.
use warnings;
use strict;
use Debian::Debhelper::Dh_Lib;

insert_after('dh_shlibdeps', 'dh_netqueue');

1;
