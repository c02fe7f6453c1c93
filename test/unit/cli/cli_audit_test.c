/* cli_audit_test.c - an audit that is followed until its report is here. */

#include "cli/cli_audit.h"

#include "cli/cli.h"
#include "cli_kit.h"

struct call {
    const char *dir;
    int64_t timeout_ms;
    bool json;
};

static int audit(void *arg)
{
    struct call *c = arg;
    struct buf request = {0};

    term_put_atom(&request, "go");
    int status = cli_audit_run(c->dir, buf_view(&request), c->timeout_ms, c->json);
    buf_free(&request);
    return status;
}

/* With ${answers}: the status and the whole of what is written. */
static void check(const char *const *answers, bool json, int status, const char *wanted)
{
    static char said[KIT_SCREEN];
    struct kit_sidecar *k = kit_sidecar(answers);
    struct call c = {k->dir.path, 20000, json};

    int got = kit_caught(audit, &c, said);
    ck_assert_str_eq(said, wanted);
    ck_assert_int_eq(got, status);
    kit_asked(k, "go\n(audit, status)\n");
    kit_end(k);
}

TEST(the_report_says_how_it_went)
{
    check((const char *const[]){".", "^(ok, {checked: 3, findings: [], stopped: nil})",
                                "(ok, {kind: nil})", NULL},
          false, CLI_DONE, "checked   3\nfindings  []\nstopped   -\n");
    check((const char *const[]){".", "^(ok, {findings: [], stopped: nil})", "(ok, {kind: nil})",
                                NULL},
          true, CLI_DONE, "{\"findings\":[],\"stopped\":null}\n");
    check((const char *const[]){".", "^(ok, {findings: [], stopped: 'cancelled'})",
                                "(ok, {kind: nil})", NULL},
          false, CLI_UNKNOWN, "findings  []\nstopped   cancelled\n");
    check((const char *const[]){".", "^(ok, {findings: []})", "(ok, {kind: nil})", NULL}, false,
          CLI_UNKNOWN, "findings  []\n");
    check((const char *const[]){".",
                                "^(ok, {findings: [{finding: 'lost', kind: 'k'}], stopped: nil})",
                                "(ok, {kind: nil})", NULL},
          true, CLI_ERROR,
          "{\"findings\":[{\"finding\":\"lost\",\"kind\":\"k\"}],\"stopped\":null}\n");
    check((const char *const[]){".", "^(error, audit_running)", "(ok, {kind: nil})", NULL}, false,
          CLI_UNKNOWN,
          "convex_sidecar: the sidecar answers: audit_running: one at a time; next: `audit status` "
          "shows how far it is, `audit cancel` ends it\n");
}

#define BAR "\r\033[K"

TEST(a_terminal_sees_how_far_it_is)
{
    static char said[KIT_SCREEN];
    struct kit_sidecar *k = kit_sidecar((const char *const[]){
        ".", "(ok, {kind: nil, checked: 1})",
        "(ok, {kind: 'k', checked: 5, findings: 1, rate: 2, eta_s: nil})", "(error, {kind: 'k'})",
        "(ok, {kind: 'l', checked: 7, findings: 2, rate: 3, eta_s: 12})", "(ok, 3)",
        "~(ok, {kind: 'm', checked: 9, eta_s: nil})", "^(ok, {findings: [], stopped: nil})",
        "(ok, {kind: nil})", NULL});
    struct call c = {k->dir.path, 20000, true};

    ck_assert_int_eq(kit_terminal(audit, &c, NULL, said), CLI_DONE);
    ck_assert_str_eq(said,
                     BAR "k 5 checked, 1 found, 2/s" BAR "l 7 checked, 2 found, 3/s, 12 s left" BAR
                         "m 9 checked, 0 found, 0/s" BAR "{\"findings\":[],\"stopped\":null}\n");
    kit_end(k);
    k = kit_sidecar((const char *const[]){".", "(ok, {kind: 'k', checked: 5})",
                                          "^(ok, {findings: []})", "(ok, {kind: nil})", NULL});
    c.dir = k->dir.path; /* without one, a line each ten seconds */
    ck_assert_int_eq(kit_caught(audit, &c, said), CLI_UNKNOWN);
    ck_assert_str_eq(said, "{\"findings\":[]}\n");
    kit_end(k);
}

TEST(an_interrupt_asks_for_the_end)
{
    static char said[KIT_SCREEN];
    struct kit_sidecar *k = kit_sidecar((const char *const[]){
        ".", "(ok, {kind: 'k', checked: 5, eta_s: nil})", "@cancel(ok, {kind: nil})",
        "^(ok, {findings: [], stopped: 'cancelled'})", "(ok, {kind: nil})", NULL});
    struct call c = {k->dir.path, 20000, true};

    ck_assert_int_eq(kit_terminal(audit, &c, (const char *const[]){"5 checked|\003", NULL}, said),
                     CLI_UNKNOWN);
    ck_assert_ptr_nonnull(strstr(said, BAR "{\"findings\":[],\"stopped\":\"cancelled\"}\n"));
    /* It is asked once; then the audit is looked at again. */
    const char *cancel = strstr(k->asked, "(audit, cancel)\n");
    ck_assert_ptr_nonnull(cancel);
    ck_assert_str_eq(cancel, "(audit, cancel)\n(audit, status)\n");
    kit_end(k);
}

TEST(a_signal_to_end_does_so_as_well)
{
    static char said[KIT_SCREEN];
    struct kit_sidecar *k = kit_sidecar((const char *const[]){
        ".", "%(ok, {kind: nil})", "(ok, {kind: nil})", "@cancel(ok, {kind: nil})",
        "^(ok, {findings: [], stopped: 'cancelled'})", "(ok, {kind: nil})", NULL});
    struct call c = {k->dir.path, 20000, true};

    ck_assert_int_eq(kit_caught(audit, &c, said), CLI_UNKNOWN);
    ck_assert_ptr_nonnull(strstr(k->asked, "(audit, cancel)\n"));
    kit_end(k);
}

TEST(a_sidecar_that_leaves_is_said)
{
    static char said[KIT_SCREEN];
    char wanted[300];
    struct kit_sidecar *k = kit_sidecar((const char *const[]){".", "(ok, {kind: 'k'})", "!", NULL});
    struct call c = {k->dir.path, 20000, false};

    ck_assert_int_eq(kit_terminal(audit, &c, NULL, said), CLI_ABSENT);
    snprintf(wanted, sizeof wanted,
             BAR "k 0 checked, 0 found, 0/s, 0 s left" BAR
                 "convex_sidecar: no sidecar answers in %s: the connection "
                 "ended before the answer came; see its log\n",
             c.dir);
    kit_end(k);
    ck_assert_int_eq(kit_caught(audit, &(struct call){"/nonexistent", 1000, false}, said),
                     CLI_ABSENT);
    ck_assert_ptr_nonnull(
        strstr(said, "no sidecar answers in /nonexistent: there is no such store"));
    k = kit_sidecar((const char *const[]){".", NULL});
    c = (struct call){k->dir.path, 200, false};
    ck_assert_int_eq(kit_caught(audit, &c, said), CLI_ABSENT);
    ck_assert_ptr_nonnull(strstr(said, "it did not answer in time"));
    kit_end(k);
}
