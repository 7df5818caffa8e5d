/* See certs.h.  `openssl ca` does what `openssl req -x509` cannot: times that have passed, and a
 * list of what was revoked. */
#include "tests/support/certs.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char certs_script[] =
    "cd '%s' && exec >log 2>&1 && set -e\n"
    "new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
    "ca='openssl ca -batch -config ca.conf -cert ca.pem -keyfile ca.key'\n"
    "$new -x509 -days 2 -keyout ca.key -out ca.pem -subj /CN=authority\n"
    "$new -x509 -days 2 -keyout other.key -out other.pem -subj /CN=stranger \\\n"
    "    -addext subjectAltName=IP:127.0.0.1\n"
    "printf '%%s\\n' '[ca]' default_ca=d '[d]' database=index serial=serial new_certs_dir=. \\\n"
    "    default_md=sha256 policy=p default_days=2 default_crl_days=2 copy_extensions=copy \\\n"
    "    '[p]' commonName=supplied >ca.conf\n"
    ": >index\n"
    "echo 01 >serial\n"
    "sign() {\n"
    "    name=$1 san=$2 && shift 2\n"
    "    $new -keyout $name.key -out $name.csr -subj /CN=$name \\\n"
    "        ${san:+-addext subjectAltName=$san}\n"
    "    $ca -notext -in $name.csr -out $name.pem \"$@\"\n"
    "}\n"
    "sign server IP:127.0.0.1,DNS:localhost,URI:urn:uuid:" NQTEST_CERT_SERVER "\n"
    "sign client URI:urn:uuid:" NQTEST_CERT_CLIENT "\n"
    "sign nobody ''\n"
    "sign elsewhere DNS:elsewhere.test,IP:127.0.0.2\n"
    "sign expired IP:127.0.0.1 -startdate 20200101000000Z -enddate 20200102000000Z\n"
    "sign early IP:127.0.0.1 -startdate 20480101000000Z -enddate 20480102000000Z\n"
    "sign revoked IP:127.0.0.1\n"
    "$ca -revoke revoked.pem\n"
    "$ca -gencrl -out crl.pem\n"
    "echo nothing >junk.pem\n"
    "openssl pkey -in server.key -aes128 -passout pass:terminal -out locked.key\n"
    "openssl ec -in server.key -aes128 -passout pass:terminal -out locked-old.key\n";

#define CERTS_FILES(name, file) \
    [NQTEST_##name##_PEM] = file ".pem", [NQTEST_##name##_KEY] = file ".key",
static const char *const certs_files[NQTEST_CERTS] = {
    NQTEST_CERT_NAMES(CERTS_FILES)[NQTEST_CRL_PEM] = "crl.pem", [NQTEST_JUNK_PEM] = "junk.pem",
    [NQTEST_LOCKED_KEY] = "locked.key", [NQTEST_LOCKED_OLD_KEY] = "locked-old.key"};

char nqtest_certs[NQTEST_CERTS][96];
char nqtest_certs_folder[64];
static pid_t certs_owner;

static void certs_remove(void)
{
    char command[128];

    if (getpid() != certs_owner) /* tests are children */
        return;
    snprintf(command, sizeof(command), "rm -rf '%s'", nqtest_certs_folder);
    (void)!system(command);
}

void nqtest_certs_make(void)
{
    char script[sizeof(certs_script) + sizeof(nqtest_certs_folder)];

    if (certs_owner)
        return;
    snprintf(nqtest_certs_folder, sizeof(nqtest_certs_folder), "/tmp/netqueue-certs-XXXXXX");
    if (!mkdtemp(nqtest_certs_folder))
        abort();
    certs_owner = getpid();
    atexit(certs_remove);
    for (int i = 0; i < NQTEST_CERTS; i++)
        snprintf(nqtest_certs[i], sizeof(nqtest_certs[i]), "%s/%s", nqtest_certs_folder,
                 certs_files[i]);
    snprintf(script, sizeof(script), certs_script, nqtest_certs_folder);
    if (system(script)) {
        fprintf(stderr, "openssl did not make certificates: see %s/log\n", nqtest_certs_folder);
        exit(1);
    }
}
