/* The descriptor of a transport that somebody else wrote, and its table of options.
 *
 *     u8 flags   bits: 0 no ops, 1 an older table of slots, 2 another magic, 3 another major, 4 a
 *                newer minor, 5 no name, 6 rows that are larger than ours
 *     u32 slots  each bit: that slot is there
 *     u16 caps, u8 threading
 *     then       rows: u8 which parts are there, type, flags, strings (length, bytes), numbers
 *
 * Nothing in the file is called, what is refused says why in one printable line, and a table that
 * is taken can be filled with its defaults.  The descriptor is data of a file that runs in this
 * process anyway: the strings in it end with NUL. */
#include "core/plugin.c" /* plugin_check() is nobody else's */

#include "tests/fuzz/fuzz.h"

#define ROWS 6u
#define STRINGS (ROWS * 6u)

struct descriptor_fuzz {
    struct nqi_buf in;
    char *string[STRINGS];
    unsigned nstring;
    const char *choices[ROWS][3];
    struct {
        struct nqt_opt opt;
        char more[16];
    } wide[ROWS];
    struct nqt_opt row[ROWS];
    struct nqt_ops ops;
    struct nqt_module module;
};

static struct descriptor_fuzz fuzz;

static const char *fuzz_string(bool there)
{
    size_t len = nqi_buf_u8(&fuzz.in) % 48;
    char *text = calloc(1, len + 1);
    uint8_t *bytes;

    MUST(text && fuzz.nstring < STRINGS);
    bytes = fuzz_exact(&fuzz.in, &len);
    memcpy(text, bytes, len);
    free(bytes);
    fuzz.string[fuzz.nstring++] = text;
    return there ? text : NULL;
}

static struct nqt_opt fuzz_row(unsigned i)
{
    uint8_t parts = nqi_buf_u8(&fuzz.in);
    struct nqt_opt row = {.type = nqi_buf_u8(&fuzz.in), .flags = nqi_buf_u8(&fuzz.in)};

    row.name = fuzz_string(!(parts & 1));
    if (parts & 2)
        row.def = fuzz_string(true);
    if (parts & 4)
        row.help = row.unit = fuzz_string(true);
    if (parts & 8) {
        fuzz.choices[i][0] = fuzz_string(true);
        fuzz.choices[i][1] = parts & 16 ? fuzz_string(true) : NULL;
    }
    if (parts & (8 | 32))
        row.choices = fuzz.choices[i];
    if (parts & 64)
        row.min = (int64_t)nqi_buf_u64(&fuzz.in);
    if (parts & 128)
        row.max = (int64_t)nqi_buf_u64(&fuzz.in);
    return row;
}

/* Slots are pointers that nobody follows. */
static void fuzz_slots(uint32_t there)
{
    const size_t first = offsetof(struct nqt_ops, mod_open);
    const uintptr_t somewhere = 1;

    for (size_t at = first, i = 0; at + sizeof(somewhere) <= sizeof(fuzz.ops);
         at += sizeof(somewhere), i++)
        if (there >> i % 32 & 1)
            memcpy((char *)&fuzz.ops + at, &somewhere, sizeof(somewhere));
}

static void fuzz_module(void)
{
    uint8_t flags = nqi_buf_u8(&fuzz.in);

    fuzz_slots(nqi_buf_u32(&fuzz.in));
    fuzz.ops.size = flags & 2 ? offsetof(struct nqt_ops, send) : sizeof(fuzz.ops);
    fuzz.module = (struct nqt_module){
        .magic = flags & 4 ? 1 : NQT_MAGIC,
        .size = sizeof(fuzz.module),
        .abi_major = flags & 8 ? NQT_ABI_MAJOR + 1 : NQT_ABI_MAJOR,
        .needs_minor = flags & 16 ? NQT_ABI_MINOR + 1 : 0,
        .caps = nqi_buf_u16(&fuzz.in),
        .threading = nqi_buf_u8(&fuzz.in),
        .name = flags & 32 ? NULL : "x",
        .ops = flags & 1 ? NULL : &fuzz.ops,
        .opt = flags & 64 ? &fuzz.wide[0].opt : fuzz.row,
        .opt_size = flags & 64 ? sizeof(fuzz.wide[0]) : sizeof(fuzz.row[0]),
    };
    while (fuzz.module.nopt < ROWS && nqi_buf_left(&fuzz.in)) {
        unsigned i = fuzz.module.nopt++;

        fuzz.row[i] = fuzz.wide[i].opt = fuzz_row(i);
    }
}

/* What is taken can be used. */
static void fuzz_use(void)
{
    struct nqi_options *options;
    char why[NQI_WHY];

    MUST(!nqi_options_new(&fuzz.module, &options));
    MUST(!nqi_options_fill(options, "/etc", why));
    for (size_t i = 0; i < fuzz.module.nopt; i++) {
        const struct nqt_opt *opt = nqi_options_at(&fuzz.module, i);

        MUST(nqi_options_find(&fuzz.module, opt->name) == i);
        MUST(nqi_options_is_set(options, i) == (opt->def != NULL));
    }
    nqi_options_free(options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    nq_err err;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    fuzz_module();
    err = plugin_check(&fuzz.module, "x", "/usr/lib/x.so");
    MUST(!err || err == NQ_ERR_PLUGIN);
    if (err)
        for (const char *at = nq_error(); *at; at++)
            MUST((unsigned char)*at >= 0x20 && *at != 0x7f);
    else
        fuzz_use();
    while (fuzz.nstring)
        free(fuzz.string[--fuzz.nstring]);
    return 0;
}

/* ---- seeds ---- */

static void seed_string(const char *text)
{
    fuzz_add_u8((unsigned)strlen(text));
    fuzz_add_text(text);
}

static void seed_head(unsigned flags, unsigned threading)
{
    const uint8_t head[] = {(uint8_t)flags, 255, 255, 255, 255, 0, 0x0d, (uint8_t)threading};

    fuzz_add(head, sizeof(head));
}

static void seed_row(unsigned parts, unsigned type, const char *name, const char *text)
{
    fuzz_add_u8(parts);
    fuzz_add_u8(type);
    fuzz_add_u8(0);
    seed_string(name);
    if (parts & 2)
        seed_string(text);
    if (parts & 8)
        seed_string("any");
    if (parts & 16)
        seed_string("ipv4");
}

void fuzz_seeds(void)
{
    static const char *const defs[] = {"true", "7", "64KiB", "30s", "text",
                                       "any",  "a", "x,y",   "tcp"};

    for (unsigned flags = 0; flags < 128; flags = flags ? flags * 2 : 1) {
        seed_head(flags, NQT_THREADING_LOOP);
        for (unsigned type = NQT_OPT_BOOL; type <= 5; type++)
            seed_row(2, type, (const char *[]){"a", "b.c", "d-e", "f_g", "h"}[type - 1],
                     defs[type - 1]);
        fuzz_seed();
    }
    for (unsigned type = 1; type <= NQI_LEN(defs); type++) {
        seed_head(0, NQT_THREADING_OWN);
        seed_row(2 | 8 | 16, type, "name", defs[type - 1]);
        seed_row(0, type, "other", "");
        fuzz_seed();
    }
}
