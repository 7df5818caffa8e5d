/* What the file says to the loader: its symbols and the libraries it needs.  See try.h.
 *
 * Read from the file's table of sections, since the loader tells of neither. */
#include "tools/conform/try.h"
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct object {
    const uint8_t *bytes;
    size_t len;
};

/* `n` bytes at `at`; a file that has not got them is none that the loader took. */
static const void *object_at(const struct object *object, uint64_t at, uint64_t n)
{
    NQTEST_MUST(NONE, at <= object->len && n <= object->len - at,
                "its tables lie beyond the end of the file");
    return object->bytes + at;
}

static struct object object_open(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct stat status = {0};
    struct object object;

    NQTEST_MUST(NONE, fd >= 0 && !fstat(fd, &status), "%s cannot be read", file);
    object.len = (size_t)status.st_size;
    object.bytes = mmap(NULL, object.len, PROT_READ, MAP_PRIVATE, fd, 0);
    NQTEST_MUST(NONE, object.bytes != MAP_FAILED, "%s cannot be read", file);
    close(fd);
    return object;
}

/* The n-th section, or NULL. */
static const ElfW(Shdr) * object_section(const struct object *object, uint32_t n)
{
    const ElfW(Ehdr) *head = object_at(object, 0, sizeof(*head));

    if (n >= head->e_shnum || head->e_shentsize != sizeof(ElfW(Shdr)))
        return NULL;
    return object_at(object, head->e_shoff + n * sizeof(ElfW(Shdr)), sizeof(ElfW(Shdr)));
}

/* The text at `offset` of the section that `section` links to. */
static const char *object_text(const struct object *object, const ElfW(Shdr) * section,
                               uint64_t offset)
{
    const ElfW(Shdr) *strings = object_section(object, section->sh_link);
    const char *text;

    NQTEST_MUST(NONE, strings && offset < strings->sh_size, "a name lies beyond the file's names");
    text = object_at(object, strings->sh_offset, strings->sh_size);
    return text + offset;
}

/* Names that compilers and linkers make; those of C++ are not theirs. */
static bool is_of_the_tools(const char *name)
{
    return name[0] == '_' && name[1] != 'Z';
}

static void look_at_symbol(const char *name, const ElfW(Sym) * symbol)
{
    char wanted[256];
    const struct nqt_module *module = nqtest_tested->module;

    if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL || !*name)
        return;
    if (symbol->st_shndx == SHN_UNDEF) {
        NQTEST_MUST(NONE, strncmp(name, "nq", 2) != 0, "it needs %s, which is the library's", name);
        return;
    }
    snprintf(wanted, sizeof(wanted), "%s_LTX_nqt%u_module", module->name, (unsigned)NQT_ABI_MAJOR);
    NQTEST_MUST(NONE, strcmp(name, wanted) == 0 || is_of_the_tools(name), "it exports %s", name);
}

static void look_at_symbols(const struct object *object, const ElfW(Shdr) * section)
{
    const ElfW(Sym) *symbols = object_at(object, section->sh_offset, section->sh_size);

    for (size_t i = 0; i < section->sh_size / sizeof(*symbols); i++)
        look_at_symbol(object_text(object, section, symbols[i].st_name), &symbols[i]);
}

static void look_at_needs(const struct object *object, const ElfW(Shdr) * section)
{
    const ElfW(Dyn) *needs = object_at(object, section->sh_offset, section->sh_size);

    for (size_t i = 0; i < section->sh_size / sizeof(*needs) && needs[i].d_tag != DT_NULL; i++)
        if (needs[i].d_tag == DT_NEEDED) {
            const char *name = object_text(object, section, needs[i].d_un.d_val);

            NQTEST_MUST(NONE, strncmp(name, "libnetqueue.", 12) != 0, "it is linked with %s", name);
        }
}

static void the_file_exports_its_descriptor_alone(void)
{
    struct object object = object_open(nqtest_file());
    const ElfW(Shdr) * section;
    bool any = false;

    for (uint32_t i = 0; (section = object_section(&object, i)); i++) {
        if (section->sh_type == SHT_DYNSYM)
            look_at_symbols(&object, section);
        if (section->sh_type == SHT_DYNAMIC)
            look_at_needs(&object, section);
        any |= section->sh_type == SHT_DYNSYM;
    }
    if (!any)
        nqtest_leave_out("it has no table of sections");
}

const struct nqtest_try nqtest_tries_object[] = {
    {NQTEST_RULE_SYMBOLS, .run = the_file_exports_its_descriptor_alone},
    {.rule = NQTEST_RULE_NONE},
};
