/* See rule.h. */
#include "tools/conform/rule.h"

enum { TRIED, WATCHED };

#define RULE_TEXT(id, name, when, sentence) {name, sentence, (when) == WATCHED},

const struct nqtest_rule_text nqtest_rules[NQTEST_RULE_COUNT] = {{"", "", false},
                                                                 NQTEST_RULES(RULE_TEXT)};
