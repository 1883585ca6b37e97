/* SPDX-License-Identifier: MIT */
#undef NDEBUG

/* The node against a world that fits into a struct: an API server that is there or not, a gybed that does what gybed does, a
 * clock. Updates are also run with gybe-node killed at each of its doings in turn: before it, and after it but before anybody
 * could tell. */

#include "control/node.h"
#include "base/log.h"
#include "base/str.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define UID  "0a0b0c0d-1111-4222-8333-444455556666"
#define OP_1 "11111111-aaaa-4bbb-8ccc-dddddddddddd"
#define OP_2 "22222222-aaaa-4bbb-8ccc-dddddddddddd"
#define OP_3 "33333333-aaaa-4bbb-8ccc-dddddddddddd"

enum { WAITS_NONE, WAITS_DESCRIBE, WAITS_ORDER, WAITS_JOB, WAITS_PUBLISH };

typedef struct World {
        /* what survives gybe-node */
        char *saved;
        char *request, *status[_NODE_KEY_MAX];
        bool api_down, gybed_down, disk_full, no_reboots, busy;
        uint64_t clock, monotonic;
        unsigned boot;
        /* gybed */
        const char *phase, *outcome, *reason, *running, *version, *update_version, *update_slot;
        unsigned update, stages, arms, reboots, jobs;
        bool rollback, boot_fails, rebooting;
        int job_exit;
        const char *job_error, *job_blocked;
        unsigned job_boot;
        /* what was seen */
        char *told[64];
        size_t n_told, publishes;
        /* one life of gybe-node */
        Node *node;
        int waits[16];
        char *sent;
        NodeKey sent_key;
        NodeOrder order;
        char *order_version;
        size_t n_waits, doings, kill_at;
        bool killed, kill_after;
} World;

static void run_order(World *w);
static void take_publication(World *w);

static void doing(World *w, int what)
{
        if (w->killed)
                return;
        w->clock++; /* so that what is said twice must have been remembered */
        if (++w->doings == w->kill_at) {
                w->killed = true;
                if (w->kill_after && what == WAITS_ORDER && !w->gybed_down)
                        run_order(w);
                else if (w->kill_after && what == WAITS_PUBLISH && !w->api_down)
                        take_publication(w);
                return;
        }
        assert(w->n_waits < ELEMENTSOF(w->waits));
        if (what != WAITS_NONE)
                w->waits[w->n_waits++] = what;
}

static void do_describe(void *ctx)
{
        doing(ctx, WAITS_DESCRIBE);
}

static void do_order(void *ctx, const NodeOrder *order)
{
        World *w = ctx;

        w->order = *order;
        free(w->order_version);
        w->order_version = order->version ? strdup(order->version) : NULL;
        doing(w, WAITS_ORDER);
}

static void do_ask_job(void *ctx, const char *id _unused_)
{
        doing(ctx, WAITS_JOB);
}

static void do_publish(void *ctx, NodeKey key, const char *text)
{
        World *w = ctx;

        free(w->sent);
        w->sent = strdup(text);
        w->sent_key = key;
        doing(w, WAITS_PUBLISH);
}

static int do_save(void *ctx, const NodeState *state, Why *why)
{
        World *w = ctx;
        char *text;

        if (w->disk_full)
                return fail(why, -ENOSPC, WHY_HOST, "test", "no space");
        if (w->killed)
                return 0;
        assert(node_state_format(state, &text) == 0);
        doing(w, WAITS_NONE);
        if (w->killed && !w->kill_after) {
                free(text);
                return 0;
        }
        free(w->saved);
        w->saved = text;
        return 0;
}

static uint64_t do_now(void *ctx)
{
        return ((World *) ctx)->clock;
}

static uint64_t do_monotonic(void *ctx)
{
        return ((World *) ctx)->monotonic;
}

static unsigned do_random(void *ctx _unused_)
{
        return 1000;
}

/* --- gybed --- */

static Json *engine(const World *w)
{
        Json *j = json_new_object(), *u = json_new_object(), *s = json_new_object();
        char id[32];

        json_set_str(j, "schema", "gybe.status/1");
        json_set_str(j, "phase", w->phase);
        json_set_str(j, "outcome", w->outcome);
        json_set_str(j, "reason", w->reason);
        json_set_str(j, "running", w->running);
        json_set_str(s, "type", "feed");
        json_set(j, "source", s);
        json_set(j, "slots", json_new_object());
        if (w->update > 0) {
                (void) snprintf(id, sizeof(id), "update-%u", w->update);
                json_set_str(u, "id", id);
                json_set_str(u, "version", w->update_version);
                json_set_str(u, "slot", w->update_slot);
                json_set_bool(u, "rollback", w->rollback);
        }
        json_set(j, "update", u);
        return j;
}

static void begin_update(World *w, const char *version, bool rollback)
{
        w->update++;
        w->update_version = version;
        w->update_slot = streq(w->running, "a") ? "b" : "a";
        w->rollback = rollback;
        w->outcome = w->reason = NULL;
}

static void run_order(World *w)
{
        w->jobs++;
        w->job_boot = w->boot;
        w->job_exit = 0;
        w->job_error = w->job_blocked = NULL;
        if (w->busy) {
                w->job_exit = 5;
                w->job_error = "busy";
                w->busy = false;
        } else if (w->order.verb == NODE_STAGE) {
                if (streq(w->phase, "staged") && streq(w->update_version, w->order_version)) {
                        w->job_exit = 10;
                        w->job_error = "already-staged";
                } else if (streq(w->order_version, "v3")) {
                        w->job_exit = 3;
                        w->job_error = "other-version";
                } else if (!streq(w->order_version, "v2")) {
                        w->job_exit = 4;
                        w->job_error = "unknown-version";
                } else {
                        begin_update(w, "v2", false);
                        w->phase = "staged";
                        w->stages++;
                }
        } else if (w->order.verb == NODE_ROLLBACK) {
                if (streq(w->phase, "finalized"))
                        w->phase = w->rollback ? "idle" : "staged";
                else {
                        begin_update(w, "v1", true);
                        w->phase = "finalized";
                        w->arms++;
                }
        } else if (streq(w->phase, "finalized")) {
                w->job_exit = 10;
                w->job_error = "already-finalized";
                if (!w->order.no_reboot && w->no_reboots)
                        w->job_blocked = "an inhibitor";
                else if (!w->order.no_reboot)
                        w->rebooting = true;
        } else if (streq(w->phase, "staged")) {
                w->phase = "finalized";
                w->arms++;
                assert(w->order.no_reboot); /* told first */
        } else {
                w->job_exit = 10;
                w->job_error = "nothing-staged";
        }
}

static Json *job_answer(const World *w)
{
        Json *j = json_new_object(), *e = w->job_error ? json_new_object() : NULL;

        json_set_str(j, "rebootBlockedBy", w->job_blocked);
        if (w->job_error) {
                json_set_str(e, "kind", w->job_exit == 4 ? "trust" : "nothing");
                json_set_str(e, "code", w->job_error);
                json_set_str(e, "message", w->job_error);
                json_set(j, "error", e);
        }
        return j;
}

/* --- the API server --- */

static void show(World *w)
{
        if (!w->api_down)
                node_on_object(w->node, "uid-1", w->request, (const char *const *) w->status);
}

static void take_publication(World *w)
{
        w->publishes++;
        free(w->status[w->sent_key]);
        w->status[w->sent_key] = strdup(w->sent);
        if (!strstr(w->sent, "InProgress")) {
                assert(w->n_told < ELEMENTSOF(w->told));
                w->told[w->n_told++] = strdup(w->sent);
        }
        show(w);
}

/* --- life --- */

static void answer(World *w, int what)
{
        Why why = { 0 };

        if (what == WAITS_PUBLISH) {
                if (!w->api_down)
                        take_publication(w);
                node_on_publish(w->node, !w->api_down, 0);
                return;
        }
        if (w->gybed_down)
                (void) fail(&why, -EIO, WHY_HOST, "agent", "the update agent does not answer");
        if (what == WAITS_DESCRIBE) {
                _cleanup_(json_unrefp) Json *j = w->gybed_down ? NULL : engine(w);

                node_on_describe(w->node, j, w->gybed_down ? NULL : w->version, &why);
        } else if (what == WAITS_ORDER) {
                char id[32];

                if (!w->gybed_down)
                        run_order(w);
                (void) snprintf(id, sizeof(id), "job-%u", w->jobs);
                node_on_order(w->node, w->gybed_down ? NULL : id, &why);
                node_on_engine(w->node);
        } else {
                _cleanup_(json_unrefp) Json *j = job_answer(w);

                node_on_job(w->node,
                            w->gybed_down            ? NODE_JOB_NO_ANSWER
                            : w->job_boot != w->boot ? NODE_JOB_UNKNOWN
                                                     : NODE_JOB_ENDED,
                            w->job_exit, j);
        }
}

static void die(World *w)
{
        w->node = node_free(w->node);
        w->n_waits = 0;
        w->killed = false;
        w->kill_at = 0;
}

static void live(World *w)
{
        static const NodeOps ops = { .describe = do_describe,
                                     .order = do_order,
                                     .ask_job = do_ask_job,
                                     .publish = do_publish,
                                     .save = do_save,
                                     .now = do_now,
                                     .monotonic = do_monotonic,
                                     .random = do_random };
        NodeOps mine = ops;
        NodeState state = { 0 };
        Why why = { 0 };
        char boot[32];
        NodeOptions options = {
                .boot_id = boot, .stage_timeout_sec = 1200, .finalize_timeout_sec = 600, .heartbeat_sec = 60
        };

        (void) snprintf(boot, sizeof(boot), "boot-%u", w->boot);
        if (w->saved)
                assert(node_state_parse(w->saved, strlen(w->saved), &state, &why) == 0);
        mine.ctx = w;
        assert(node_new(&mine, &options, &state, &w->node) == 0);
        show(w);
}

static void reboot(World *w)
{
        die(w);
        w->boot++;
        w->reboots++;
        w->rebooting = false;
        if (streq(w->phase, "finalized")) {
                w->phase = "idle";
                w->outcome = w->boot_fails || w->rollback ? "rolled-back" : "committed";
                w->reason = w->boot_fails ? "firmware-fallback" : "target-booted";
                if (!w->boot_fails) {
                        w->running = w->update_slot;
                        w->version = w->update_version;
                }
        }
        w->clock += 60;
        live(w);
}

/* Until nothing happens any more but the passing of time; at most seconds of that. */
static void run(World *w, uint64_t seconds)
{
        uint64_t until = w->monotonic + seconds * 1000;

        for (unsigned i = 0; i < 100000; i++) {
                uint64_t wake = node_step(w->node);

                if (w->killed) {
                        die(w);
                        live(w);
                        continue;
                }
                if (w->n_waits > 0) {
                        int what = w->waits[0];

                        memmove(w->waits, w->waits + 1, --w->n_waits * sizeof(*w->waits));
                        answer(w, what);
                        continue;
                }
                if (w->rebooting) {
                        reboot(w);
                        continue;
                }
                if (wake == UINT64_MAX || wake >= until) {
                        w->clock += (until - w->monotonic) / 1000;
                        w->monotonic = until;
                        return;
                }
                w->clock += (MAX(wake, w->monotonic) - w->monotonic) / 1000;
                w->monotonic = MAX(wake, w->monotonic);
        }
        assert(!"it goes round in circles");
}

/* kill_at: 0 never; else its doings are counted from 1, and each can be met before and after. */
static void begin(World *w, size_t kill_at)
{
        *w = (World){ .clock = 1790000000,
                      .monotonic = 5000,
                      .boot = 1,
                      .phase = "idle",
                      .running = "a",
                      .version = "v1",
                      .kill_at = (kill_at + 1) / 2,
                      .kill_after = kill_at > 0 && kill_at % 2 == 0 };
        live(w);
}

static void end(World *w)
{
        die(w);
        free(w->saved);
        free(w->request);
        free(w->sent);
        free(w->order_version);
        for (NodeKey k = 0; k < _NODE_KEY_MAX; k++)
                free(w->status[k]);
        for (size_t i = 0; i < w->n_told; i++)
                free(w->told[i]);
        *w = (World){ 0 };
}

static void ask(World *w, const char *operation, const char *id, const char *target)
{
        free(w->request);
        w->request = str_printf("{\"schemaVersion\":\"1.0\",\"nodeUpdateId\":\"" UID
                                "\",\"operationId\":\"%s\",\"operation\":\"%s\""
                                "%s%s%s}",
                                id, operation, target ? ",\"targetVersion\":\"" : "", target ? target : "",
                                target ? "\",\"server\":\"https://u/\",\"appId\":\"a\",\"track\":\"t\"" : "");
        show(w);
        run(w, 30);
}

static const char *code(const World *w, NodeKey key, const char *id)
{
        static char text[40];
        NodeStatus *s = NULL;

        if (!w->status[key] || node_status_parse(w->status[key], strlen(w->status[key]), &s) < 0 ||
            !streq(s->operation_id, id))
                return "";
        (void) snprintf(text, sizeof(text), "%s", node_code_name(s->code));
        node_status_free(s);
        return text;
}

#define OP(id)     code(&w, NODE_KEY_STATUS, id)
#define COMMIT(id) code(&w, NODE_KEY_COMMIT, id)

/* The same operation is never reported as ended in two ways. */
static void check_told(const World *w)
{
        for (size_t i = 0; i < w->n_told; i++)
                for (size_t k = i + 1; k < w->n_told; k++) {
                        NodeStatus *a = NULL, *b = NULL;

                        assert(node_status_parse(w->told[i], strlen(w->told[i]), &a) == 0 &&
                               node_status_parse(w->told[k], strlen(w->told[k]), &b) == 0);
                        if (streq(a->operation_id, b->operation_id) &&
                            (a->operation == NODE_COMMIT) == (b->operation == NODE_COMMIT))
                                assert(node_status_same(a, b));
                        node_status_free(a);
                        node_status_free(b);
                }
}

/* --- cases --- */

static void update(size_t kill_at, bool fails, size_t *ret_doings)
{
        World w;

        begin(&w, kill_at);
        w.boot_fails = fails;
        ask(&w, "stage", OP_1, "v2");
        assert(streq(OP(OP_1), "Success") && w.stages == 1 && streq(w.phase, "staged"));
        ask(&w, "finalize", OP_2, "v2");
        run(&w, 300);
        assert(streq(OP(OP_2), "Success") && w.arms == 1 && w.reboots == 1);
        assert(streq(COMMIT(OP_2), fails ? "TargetBootFailed" : "Success"));
        check_told(&w);
        if (ret_doings)
                *ret_doings = w.doings;
        /* idle: nothing is written, whatever the watch repeats */
        w.publishes = 0;
        for (unsigned i = 0; i < 10; i++) {
                show(&w);
                run(&w, 60);
        }
        assert(w.publishes == 0);
        /* somebody deletes what was said: it is said again, in the same words, without any work */
        free(w.status[0]);
        free(w.status[1]);
        w.status[0] = w.status[1] = NULL;
        show(&w);
        run(&w, 60);
        assert(w.publishes == 2 && streq(OP(OP_2), "Success") && w.stages == 1 && w.arms == 1);
        check_told(&w);
        end(&w);
}

static void rollback(size_t kill_at, size_t *ret_doings)
{
        World w;

        begin(&w, kill_at);
        w.version = "v2";
        w.running = "b";
        ask(&w, "rollback", OP_3, NULL);
        run(&w, 300);
        assert(streq(OP(OP_3), "Success") && streq(COMMIT(OP_3), "Success") && w.arms == 1 && w.reboots == 1);
        assert(streq(w.version, "v1") && !strstr(w.status[1], "toVersion"));
        check_told(&w);
        if (ret_doings)
                *ret_doings = w.doings;
        end(&w);
}

static void test_killed_anywhere(void)
{
        size_t n = 0;

        update(0, false, &n);
        for (size_t i = 1; i <= 2 * n; i++)
                update(i, false, NULL);
        update(0, true, &n);
        for (size_t i = 1; i <= 2 * n; i++)
                update(i, true, NULL);
        rollback(0, &n);
        for (size_t i = 1; i <= 2 * n; i++)
                rollback(i, NULL);
}

/* The API server goes away at the finalize and stays away for the whole next boot. */
static void test_api_down(void)
{
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        ask(&w, "finalize", OP_2, "v2");
        end(&w);

        for (unsigned after = 0; after < 12; after++) {
                begin(&w, 0);
                ask(&w, "stage", OP_1, "v2");
                free(w.request);
                w.request = NULL;
                w.no_reboots = false;
                w.request = str_printf("{\"schemaVersion\":\"1.0\",\"nodeUpdateId\":\"" UID
                                       "\",\"operationId\":\"" OP_2
                                       "\",\"operation\":\"finalize\",\"targetVersion\":\"v2\","
                                       "\"server\":\"https://u/\",\"appId\":\"a\",\"track\":\"t\"}");
                show(&w);
                for (unsigned i = 0; i < after; i++) { /* so many of its doings are answered first */
                        (void) node_step(w.node);
                        if (w.n_waits > 0) {
                                int what = w.waits[0];

                                memmove(w.waits, w.waits + 1, --w.n_waits * sizeof(*w.waits));
                                answer(&w, what);
                        }
                }
                w.api_down = true;
                run(&w, 600);
                assert(w.reboots == 1 && streq(w.version, "v2")); /* nobody waited */
                while (w.n_told > 0)
                        free(w.told[--w.n_told]);
                w.api_down = false;
                show(&w);
                run(&w, 120);
                assert(streq(OP(OP_2), "Success") && streq(COMMIT(OP_2), "Success"));
                for (size_t i = 1; i < w.n_told; i++) /* the order in which it happened */
                        assert(!strstr(w.told[i - 1], "\"commit\""));
                end(&w);
        }
}

static void test_refusals(void)
{
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v1");
        assert(streq(OP(OP_1), "AlreadyAtTarget") && w.jobs == 0 && w.publishes == 1);
        ask(&w, "finalize", OP_2, "v2");
        assert(streq(OP(OP_2), "InvalidRequest")); /* the stage of this update was for v1 */
        end(&w);

        begin(&w, 0);
        ask(&w, "finalize", OP_2, "v2");
        assert(streq(OP(OP_2), "NotStaged") && w.jobs == 0);
        ask(&w, "finalize", OP_3, "v1");
        assert(streq(OP(OP_3), "AlreadyAtTarget"));
        end(&w);

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v9");
        assert(streq(OP(OP_1), "OperationFailed") && strstr(w.status[0], "unknown-version") &&
               w.publishes == 2);
        ask(&w, "stage", OP_3, "v3"); /* the update server offers another one, a floor */
        assert(streq(OP(OP_3), "InvalidRequest") && strstr(w.status[0], "other-version") &&
               !strstr(w.status[0], "tridentError"));
        w.publishes = 2;
        free(w.request);
        w.request = strdup("{\"nodeUpdateId\":\"" UID "\",\"operationId\":\"" OP_2 "\",\"operation\":");
        show(&w);
        run(&w, 10);
        assert(streq(OP(OP_2), "InvalidRequest") && w.publishes == 3);
        free(w.request);
        w.request = strdup("nonsense");
        show(&w);
        run(&w, 600);
        assert(w.publishes == 3);
        end(&w);

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        w.phase = "idle"; /* somebody staged something else, or threw it away */
        ask(&w, "finalize", OP_2, "v2");
        assert(streq(OP(OP_2), "NotStaged"));
        end(&w);
}

static void test_second_finalize(void)
{
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        w.no_reboots = true;
        ask(&w, "finalize", OP_2, "v2");
        assert(streq(OP(OP_2), "Success") && w.reboots == 0);
        ask(&w, "finalize", OP_3, "v2");
        assert(streq(OP(OP_3), "InvalidRequest") && strstr(w.status[0], OP_2));
        w.no_reboots = false;
        run(&w, 300);
        assert(w.reboots == 1 && streq(COMMIT(OP_2), "Success") && w.arms == 1);
        assert(streq(OP(OP_3), "InvalidRequest"));
        end(&w);
}

static void test_reboot_refused(void)
{
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        w.no_reboots = true;
        ask(&w, "finalize", OP_2, "v2");
        run(&w, 1200);
        assert(streq(OP(OP_2), "AgentInternalError") && w.reboots == 0 && streq(w.phase, "staged"));
        end(&w);

        begin(&w,
              0); /* nobody is there who could take it back: it stays what it is, and is told when it is over */
        ask(&w, "stage", OP_1, "v2");
        w.no_reboots = true;
        ask(&w, "finalize", OP_2, "v2");
        run(&w, 300);
        w.gybed_down = true;
        run(&w, 1200);
        assert(streq(OP(OP_2), "Success") && streq(w.phase, "finalized"));
        w.gybed_down = false;
        run(&w, 60);
        assert(streq(OP(OP_2), "AgentInternalError") && w.reboots == 0 && streq(w.phase, "staged"));
        end(&w);

        begin(&w, 0); /* an operator takes it back on the node */
        ask(&w, "stage", OP_1, "v2");
        w.no_reboots = true;
        ask(&w, "finalize", OP_2, "v2");
        w.phase = "staged";
        run(&w, 300);
        assert(streq(OP(OP_2), "AgentInternalError") && w.arms == 1 && streq(w.phase, "staged"));
        end(&w);
}

static void test_engine_away(void)
{
        World w;

        begin(&w, 0);
        w.gybed_down = true;
        ask(&w, "stage", OP_1, "v2");
        assert(streq(OP(OP_1), "InProgress"));
        w.gybed_down = false;
        run(&w, 30);
        assert(streq(OP(OP_1), "Success"));
        end(&w);

        begin(&w, 0);
        w.gybed_down = true;
        ask(&w, "stage", OP_1, "v2");
        run(&w, 1300);
        assert(streq(OP(OP_1), "AgentInternalError"));
        assert(w.publishes > 15 && w.publishes < 30); /* a heartbeat a minute */
        end(&w);

        begin(&w, 0);
        w.busy = true; /* gybed's own job has the lock */
        ask(&w, "stage", OP_1, "v2");
        assert(streq(OP(OP_1), "Success") && w.jobs == 2);
        end(&w);
}

static void test_memory(void)
{
        World w;

        begin(&w, 0); /* a disk without space: nothing is done that could not be remembered */
        w.disk_full = true;
        ask(&w, "stage", OP_1, "v2");
        assert(w.jobs == 0 && w.publishes == 0);
        w.disk_full = false;
        run(&w, 30);
        assert(streq(OP(OP_1), "Success"));

        ask(&w, "finalize", OP_2, "v2"); /* rebooted and committed; then the memory is lost */
        run(&w, 60);
        assert(streq(COMMIT(OP_2), "Success"));
        free(w.saved);
        w.saved = NULL;
        free(w.status[1]);
        w.status[1] = NULL;
        die(&w);
        live(&w);
        run(&w, 300);
        assert(w.arms == 1 && w.reboots == 1 && streq(COMMIT(OP_2), "Success") && streq(OP(OP_2), "Success"));
        end(&w);
}

static void test_new_node(void)
{
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        node_on_gone(w.node);
        run(&w, 60);
        for (NodeKey k = 0; k < _NODE_KEY_MAX; k++) {
                free(w.status[k]);
                w.status[k] = NULL;
        }
        node_on_object(w.node, "uid-2", w.request, (const char *const *) w.status);
        run(&w, 60);
        assert(streq(OP(OP_1), "Success") && w.stages == 1 && streq(node_state(w.node)->node_uid, "uid-1"));
        end(&w);
}

/* The clock is years behind when the machine comes up. */
static void test_clock(void)
{
        _cleanup_(node_status_freep) NodeStatus *s = NULL;
        World w;

        begin(&w, 0);
        ask(&w, "stage", OP_1, "v2");
        w.clock = 1000;
        ask(&w, "finalize", OP_2, "v2");
        run(&w, 60);
        assert(streq(COMMIT(OP_2), "Success"));
        assert(node_status_parse(w.status[1], strlen(w.status[1]), &s) == 0);
        assert(s->started >= 1790000000 && s->finished >= s->started && s->updated >= s->started);
        end(&w);
}

static void test_many_answers(void)
{
        World w;

        begin(&w, 0);
        for (unsigned i = 0; i < 3 * NODE_ANSWERS_MAX; i++) {
                char id[NODE_UUID_SIZE];

                (void) snprintf(id, sizeof(id), "44444444-aaaa-4bbb-8ccc-%012u", i);
                ask(&w, "finalize", id, "v2");
                assert(streq(OP(id), "NotStaged"));
                while (w.n_told > 0)
                        free(w.told[--w.n_told]);
        }
        assert(node_state(w.node)->n_answers == NODE_ANSWERS_MAX);
        end(&w);
}

int main(void)
{
        log_quiet(true);
        test_killed_anywhere();
        test_api_down();
        test_refusals();
        test_second_finalize();
        test_reboot_refused();
        test_engine_away();
        test_memory();
        test_new_node();
        test_clock();
        test_many_answers();
        return 0;
}
