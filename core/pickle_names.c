/* Pickles: names of opcodes, and of globals in the forms that versions of Python and numpy write.
 */
#include "core/pickle.h"
#include <string.h>

/* All that Python has ever had, so that an error can name what is not read. */
static const char *const names_op[256] = {
    ['('] = "MARK",          [')'] = "EMPTY_TUPLE",
    ['.'] = "STOP",          ['0'] = "POP",
    ['1'] = "POP_MARK",      ['2'] = "DUP",
    ['B'] = "BINBYTES",      ['C'] = "SHORT_BINBYTES",
    ['F'] = "FLOAT",         ['G'] = "BINFLOAT",
    ['I'] = "INT",           ['J'] = "BININT",
    ['K'] = "BININT1",       ['L'] = "LONG",
    ['M'] = "BININT2",       ['N'] = "NONE",
    ['P'] = "PERSID",        ['Q'] = "BINPERSID",
    ['R'] = "REDUCE",        ['S'] = "STRING",
    ['T'] = "BINSTRING",     ['U'] = "SHORT_BINSTRING",
    ['V'] = "UNICODE",       ['X'] = "BINUNICODE",
    [']'] = "EMPTY_LIST",    ['a'] = "APPEND",
    ['b'] = "BUILD",         ['c'] = "GLOBAL",
    ['d'] = "DICT",          ['e'] = "APPENDS",
    ['g'] = "GET",           ['h'] = "BINGET",
    ['i'] = "INST",          ['j'] = "LONG_BINGET",
    ['l'] = "LIST",          ['o'] = "OBJ",
    ['p'] = "PUT",           ['q'] = "BINPUT",
    ['r'] = "LONG_BINPUT",   ['s'] = "SETITEM",
    ['t'] = "TUPLE",         ['u'] = "SETITEMS",
    ['}'] = "EMPTY_DICT",    [0x80] = "PROTO",
    [0x81] = "NEWOBJ",       [0x82] = "EXT1",
    [0x83] = "EXT2",         [0x84] = "EXT4",
    [0x85] = "TUPLE1",       [0x86] = "TUPLE2",
    [0x87] = "TUPLE3",       [0x88] = "NEWTRUE",
    [0x89] = "NEWFALSE",     [0x8a] = "LONG1",
    [0x8b] = "LONG4",        [0x8c] = "SHORT_BINUNICODE",
    [0x8d] = "BINUNICODE8",  [0x8e] = "BINBYTES8",
    [0x8f] = "EMPTY_SET",    [0x90] = "ADDITEMS",
    [0x91] = "FROZENSET",    [0x92] = "NEWOBJ_EX",
    [0x93] = "STACK_GLOBAL", [0x94] = "MEMOIZE",
    [0x95] = "FRAME",        [0x96] = "BYTEARRAY8",
    [0x97] = "NEXT_BUFFER",  [0x98] = "READONLY_BUFFER",
};

const char *nqi_opcode_name(unsigned opcode)
{
    return opcode < NQI_LEN(names_op) ? names_op[opcode] : NULL;
}

/* The first of a global is how it is written. */
static const struct {
    enum nqi_global global;
    const char *module, *name;
} names_global[] = {
    {NQI_GLOBAL_ENCODE, "_codecs", "encode"},
    {NQI_GLOBAL_BYTES, "builtins", "bytes"},
    {NQI_GLOBAL_BYTES, "__builtin__", "bytes"},
    {NQI_GLOBAL_BYTEARRAY, "builtins", "bytearray"},
    {NQI_GLOBAL_BYTEARRAY, "__builtin__", "bytearray"},
    {NQI_GLOBAL_SET, "builtins", "set"},
    {NQI_GLOBAL_SET, "__builtin__", "set"},
    {NQI_GLOBAL_FROZENSET, "builtins", "frozenset"},
    {NQI_GLOBAL_FROZENSET, "__builtin__", "frozenset"},
    {NQI_GLOBAL_DATETIME, "datetime", "datetime"},
    {NQI_GLOBAL_DATE, "datetime", "date"},
    {NQI_GLOBAL_TIME, "datetime", "time"},
    {NQI_GLOBAL_TIMEDELTA, "datetime", "timedelta"},
    {NQI_GLOBAL_TIMEZONE, "datetime", "timezone"},
    {NQI_GLOBAL_UUID, "uuid", "UUID"},
    {NQI_GLOBAL_NDARRAY, "numpy", "ndarray"},
    {NQI_GLOBAL_DTYPE, "numpy", "dtype"},
    /* numpy 2 moved them, and still reads these names. */
    {NQI_GLOBAL_RECONSTRUCT, "numpy.core.multiarray", "_reconstruct"},
    {NQI_GLOBAL_RECONSTRUCT, "numpy._core.multiarray", "_reconstruct"},
    {NQI_GLOBAL_SCALAR, "numpy.core.multiarray", "scalar"},
    {NQI_GLOBAL_SCALAR, "numpy._core.multiarray", "scalar"},
    {NQI_GLOBAL_FROMBUFFER, "numpy.core.numeric", "_frombuffer"},
    {NQI_GLOBAL_FROMBUFFER, "numpy._core.numeric", "_frombuffer"},
};

static bool names_same(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && !memcmp(text, name, len);
}

int nqi_global_find(const char *module, size_t module_len, const char *name, size_t name_len)
{
    for (size_t i = 0; i < NQI_LEN(names_global); i++)
        if (names_same(name, name_len, names_global[i].name) &&
            names_same(module, module_len, names_global[i].module))
            return (int)names_global[i].global;
    return -1;
}

bool nqi_global_allowed(int global, const char *module, size_t module_len, const char *name,
                        size_t name_len, const char *const *allow)
{
    if (!allow || (global >= 0 && global <= (int)NQI_GLOBAL_BUILT_IN))
        return true;
    for (; *allow; allow++) {
        size_t len = strlen(*allow);

        if (len <= module_len && !memcmp(*allow, module, len) &&
            (len == module_len || module[len] == '.'))
            return true;
        if (len == module_len + 1 + name_len && (*allow)[module_len] == '.' &&
            !memcmp(*allow, module, module_len) && !memcmp(*allow + module_len + 1, name, name_len))
            return true;
    }
    return false;
}

static size_t names_first(enum nqi_global global)
{
    size_t i = 0;

    while (names_global[i].global != global)
        i++;
    return i;
}

const char *nqi_global_module(enum nqi_global global, unsigned protocol)
{
    size_t i = names_first(global);

    if (protocol < 3 && global >= NQI_GLOBAL_BYTES && global <= NQI_GLOBAL_FROZENSET)
        i++; /* Python 2's name, which Python 3 translates */
    return names_global[i].module;
}

const char *nqi_global_name(enum nqi_global global)
{
    return names_global[names_first(global)].name;
}
