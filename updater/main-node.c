/* SPDX-License-Identifier: MIT */

/* gybe-node: between the annotations of this host's Node and gybed. It runs as a user of its own, owns one file, and everything it
 * may do to the host goes through polkit. The loop: Kubernetes on one side (control/kube.h), the bus on the other
 * (control/node-bus.h), what they mean in between (control/node.h). */

#include "base/log.h"
#include "base/stdfd.h"
#include "base/str.h"
#include "base/usage.h"
#include "control/kube.h"
#include "control/node-bus.h"
#include "control/node-settings.h"
#include "control/node.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>

#define BOOT_ID      "/proc/sys/kernel/random/boot_id"
#define VALIDATE_US  (60u * UINT64_C(1000000))
#define RENAMED_US   (5u * UINT64_C(1000000))
#define PRODUCT_UUID "/sys/class/dmi/id/product_uuid"

typedef struct Daemon {
        const char *root, *validate;
        Env env;
        NodeSettings settings;
        sd_event *event;
        sd_event_source *step, *timer, *gone, *renamed;
        Kube *kube;
        NodeBus *bus;
        Node *node;
        char *product_uuid;
        bool told_other_uuid;
} Daemon;

static const char usage_text[] =
        "usage: gybe-node [--root DIR] [--validate-connection WHAT]\n"
        "\n"
        "Lets a Kubernetes orchestrator update this host through the annotations of\n"
        "its Node; started by gybe-node.service. Settings: gybe-node(8).\n"
        "  --root DIR                          a host made of files\n"
        "  --validate-connection kubernetes    reads the Node once and says so\n"
        "  --validate-connection engine        asks gybed once\n";

static uint64_t monotonic_ms(void *ctx _unused_)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Run node_step() when this round of events is over. */
static void kick(Daemon *d)
{
        if (d->step)
                (void) sd_event_source_set_enabled(d->step, SD_EVENT_ONESHOT);
}

/* --- what the node wants --- */

static void do_describe(void *ctx)
{
        node_bus_describe(((Daemon *) ctx)->bus);
}

static void do_order(void *ctx, const NodeOrder *order)
{
        node_bus_order(((Daemon *) ctx)->bus, order);
}

static void do_ask_job(void *ctx, const char *id)
{
        node_bus_ask_job(((Daemon *) ctx)->bus, id);
}

static void do_publish(void *ctx, NodeKey key, const char *text)
{
        kube_annotate(((Daemon *) ctx)->kube,
                      key == NODE_KEY_COMMIT ? "update-commit-status" : "update-status", text);
}

static int do_save(void *ctx, const NodeState *state, Why *why)
{
        return node_state_save(&((Daemon *) ctx)->env, state, why);
}

static uint64_t do_now(void *ctx)
{
        return env_now(&((Daemon *) ctx)->env);
}

static unsigned do_random(void *ctx _unused_)
{
        unsigned v = 0;

        (void) !getrandom(&v, sizeof(v), GRND_NONBLOCK);
        return v;
}

/* --- Kubernetes --- */

static void validated(Daemon *d, const char *what, const char *text)
{
        (void) printf("%s: %s\n", what, text);
        (void) sd_event_exit(d->event, 0);
}

static int on_gone_for_too_long(sd_event_source *s, uint64_t usec _unused_, void *userdata)
{
        Daemon *d = userdata;

        log_warning("there has been no Node %s for %llu s; giving up", d->settings.node,
                    (unsigned long long) d->settings.gone_max_wait_sec);
        return sd_event_exit(sd_event_source_get_event(s), 1);
}

/* Until there is a Node: which one is ours may be known later than we began. Whoever starts us starts us anew. */
static int on_look_at_name(sd_event_source *s, uint64_t usec _unused_, void *userdata)
{
        Daemon *d = userdata;

        if (node_settings_renamed(&d->env, &d->settings)) {
                log_notice("there is no Node %s that we may see, and it is called otherwise by now; "
                           "beginning anew",
                           d->settings.node);
                return sd_event_exit(sd_event_source_get_event(s), 0);
        }
        (void) sd_event_source_set_time_relative(s, RENAMED_US);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static void on_gone(void *ctx)
{
        Daemon *d = ctx;

        if (d->validate) {
                log_warning("there is no Node %s", d->settings.node);
                (void) sd_event_exit(d->event, 1);
                return;
        }
        node_on_gone(d->node);
        (void) sd_event_source_set_time_relative(d->renamed, RENAMED_US);
        (void) sd_event_source_set_enabled(d->renamed, SD_EVENT_ONESHOT);
        if (d->settings.gone_max_wait_sec > 0 && !d->gone)
                (void) sd_event_add_time_relative(d->event, &d->gone, CLOCK_MONOTONIC,
                                                  d->settings.gone_max_wait_sec * 1000000, 0,
                                                  on_gone_for_too_long, d);
        kick(d);
}

/* Another machine by the same name is not this one. What cannot be read is not held against it. */
static bool is_this_machine(Daemon *d, const KubeNode *n)
{
        if (!d->settings.validate_uuid || !d->product_uuid || !n->system_uuid || !*n->system_uuid ||
            strcasecmp(d->product_uuid, n->system_uuid) == 0)
                return true;
        if (!d->told_other_uuid)
                log_warning("the Node %s is machine %.64s, this is %.64s: it is not ours", n->name,
                            n->system_uuid, d->product_uuid);
        d->told_other_uuid = true;
        return false;
}

static void on_node(void *ctx, const KubeNode *n)
{
        const char *statuses[_NODE_KEY_MAX] = { n->status, n->commit_status };
        Daemon *d = ctx;

        if (!is_this_machine(d, n)) {
                on_gone(d);
                return;
        }
        if (d->validate) {
                validated(d, "kubernetes", n->name);
                return;
        }
        d->gone = sd_event_source_disable_unref(d->gone);
        (void) sd_event_source_set_enabled(d->renamed, SD_EVENT_OFF);
        node_on_object(d->node, n->uid, n->request, statuses);
        kick(d);
}

static void on_patched(void *ctx, bool done, uint64_t retry_sec)
{
        Daemon *d = ctx;

        node_on_publish(d->node, done, retry_sec);
        kick(d);
}

/* --- gybed --- */

static void on_describe(void *ctx, const Json *status, const Why *why)
{
        _cleanup_(free_charp) char *version = NULL;
        Daemon *d = ctx;

        if (d->validate) {
                if (status)
                        validated(d, "engine",
                                  json_get_str(status, "version") ? json_get_str(status, "version")
                                                                  : "it answers");
                else {
                        log_warning("%s", why->text);
                        (void) sd_event_exit(d->event, 1);
                }
                return;
        }
        if (status && d->settings.version_path)
                (void) node_version_read(&d->env, &d->settings, &version);
        node_on_describe(d->node, status,
                         d->settings.version_path ? version : json_get_str(status, "version"), why);
        kick(d);
}

static void on_order(void *ctx, const char *id, const Why *why)
{
        Daemon *d = ctx;

        node_on_order(d->node, id, why);
        kick(d);
}

static void on_job(void *ctx, NodeJob is, int exit_code, const Json *result)
{
        Daemon *d = ctx;

        node_on_job(d->node, is, exit_code, result);
        kick(d);
}

static void on_changed(void *ctx)
{
        Daemon *d = ctx;

        if (d->node)
                node_on_engine(d->node);
        kick(d);
}

/* --- the loop --- */

static int on_step(sd_event_source *s _unused_, void *userdata)
{
        Daemon *d = userdata;
        const char *trouble = kube_trouble(d->kube);
        uint64_t wake = node_step(d->node);

        (void) sd_notifyf(false, "STATUS=%s%s%s", node_tell(d->node), *trouble ? "; " : "", trouble);
        if (wake == UINT64_MAX)
                return sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
        (void) sd_event_source_set_time(d->timer, wake * 1000);
        return sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata)
{
        kick(userdata);
        return 0;
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si _unused_,
                        void *userdata _unused_)
{
        (void) sd_notify(false, "STOPPING=1");
        return sd_event_exit(sd_event_source_get_event(s), 0);
}

static int on_too_late(sd_event_source *s, uint64_t usec _unused_, void *userdata)
{
        Daemon *d = userdata;

        log_warning("%s does not answer", d->validate);
        return sd_event_exit(sd_event_source_get_event(s), 1);
}

static void block_signals(void)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
}

static int open_loop(Daemon *d, Why *why)
{
        int r;

        if ((r = sd_event_default(&d->event)) < 0 ||
            (r = sd_event_add_signal(d->event, NULL, SIGTERM, on_terminate, d)) < 0 ||
            (r = sd_event_add_signal(d->event, NULL, SIGINT, on_terminate, d)) < 0 ||
            (r = sd_event_set_watchdog(d->event, true)) < 0)
                return fail_errno(why, r, WHY_HOST, "event loop");
        if (d->validate) {
                r = sd_event_add_time_relative(d->event, NULL, CLOCK_MONOTONIC, VALIDATE_US, 0, on_too_late,
                                               d);
                return r < 0 ? fail_errno(why, r, WHY_HOST, "event loop") : 0;
        }
        if ((r = sd_event_add_defer(d->event, &d->step, on_step, d)) < 0 ||
            (r = sd_event_source_set_priority(d->step, SD_EVENT_PRIORITY_IDLE)) < 0 ||
            (r = sd_event_add_time(d->event, &d->timer, CLOCK_MONOTONIC, UINT64_MAX, 100000, on_timer, d)) <
                    0 ||
            (r = sd_event_source_set_enabled(d->timer, SD_EVENT_OFF)) < 0 ||
            (r = sd_event_add_time_relative(d->event, &d->renamed, CLOCK_MONOTONIC, RENAMED_US, 1000000,
                                            on_look_at_name, d)) < 0)
                return fail_errno(why, r, WHY_HOST, "event loop");
        return 0;
}

static int open_node(Daemon *d, Why *why)
{
        const NodeOps ops = { do_describe, do_order,     do_ask_job, do_publish, do_save,
                              do_now,      monotonic_ms, do_random,  d };
        _cleanup_(free_charp) char *boot_id = NULL;
        NodeOptions options = { .stage_timeout_sec = d->settings.stage_timeout_sec,
                                .finalize_timeout_sec = d->settings.finalize_timeout_sec,
                                .heartbeat_sec = d->settings.heartbeat_sec };
        _cleanup_(node_state_done) NodeState state = { 0 };
        Why lost = { 0 };
        int r;

        r = env_read_line(&d->env, BOOT_ID, &boot_id);
        if (r < 0)
                return fail_errno(why, r, WHY_HOST, BOOT_ID);
        options.boot_id = boot_id;
        r = node_state_load(&d->env, &state, &lost, why);
        if (r < 0)
                return r;
        if (lost.kind != WHY_NONE)
                log_warning("%s; it is kept as " NODE_STATE_FILE
                            ".lost, and what happened is put together from gybe's own records",
                            lost.text);
        if (d->settings.validate_uuid && env_read_line(&d->env, PRODUCT_UUID, &d->product_uuid) < 0)
                log_warning(PRODUCT_UUID " cannot be read: which machine the Node is is not checked");
        return node_new(&ops, &options, &state, &d->node);
}

static int open_sides(Daemon *d, Why *why)
{
        const NodeBusEvents events = { on_describe, on_order, on_job, on_changed, d };
        const KubeOptions kube = { .env = &d->env,
                                   .event = d->event,
                                   .kubeconfig = d->settings.kubeconfig,
                                   .server = d->settings.server,
                                   .node = d->settings.node,
                                   .prefix = d->settings.prefix,
                                   .allow_http = d->settings.allow_http,
                                   .on_node = on_node,
                                   .on_gone = on_gone,
                                   .on_patched = on_patched,
                                   .ctx = d };
        int r = 0;

        if (!streq0(d->validate, "kubernetes"))
                r = node_bus_open(d->event, &events, &d->bus, why);
        if (r >= 0 && !streq0(d->validate, "engine"))
                r = kube_new(&kube, &d->kube, why);
        if (r >= 0 && streq0(d->validate, "engine"))
                node_bus_describe(d->bus);
        return r;
}

static void close_daemon(Daemon *d)
{
        d->kube = kube_free(d->kube);
        d->bus = node_bus_free(d->bus);
        d->node = node_free(d->node);
        (void) sd_event_source_disable_unref(d->step);
        (void) sd_event_source_disable_unref(d->timer);
        (void) sd_event_source_disable_unref(d->gone);
        (void) sd_event_source_disable_unref(d->renamed);
        (void) sd_event_unref(d->event);
        node_settings_done(&d->settings);
        free(d->product_uuid);
        env_done(&d->env);
}

/* 0 go on, 1 done, negative: usage */
static int parse(int argc, char *argv[], Daemon *d, Why *why)
{
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' },
                { "validate-connection", required_argument, NULL, 'c' },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'v' },
                { 0 },
        };
        int c;

        opterr = 0;
        while ((c = getopt_long(argc, argv, ":h", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        d->root = optarg;
                        break;
                case 'c':
                        d->validate = streq(optarg, "tridentd") ? "engine" : optarg;
                        break;
                case 'h':
                        (void) fputs(usage_text, stdout);
                        return 1;
                case 'v':
                        (void) printf("gybe-node %s\n", GYBE_VERSION);
                        return 1;
                default:
                        return usage_option(c, argv, "gybe-node", why);
                }
        }
        if (optind < argc)
                return usage_arguments("too many arguments", "gybe-node", why);
        if (d->validate && !streq(d->validate, "kubernetes") && !streq(d->validate, "engine"))
                return fail(why, -EINVAL, WHY_USAGE, "usage",
                            "--validate-connection: kubernetes or engine, not \"%s\"", d->validate);
        return 0;
}

static const char *from_environment(const char *name)
{
        return getenv(name);
}

int main(int argc, char *argv[])
{
        Daemon d = { .env = ENV_NULL };
        Why why = { 0 };
        int r;

        stdfd_open();
        block_signals();
        (void) umask(077);
        r = parse(argc, argv, &d, &why);
        if (r > 0)
                return 0;
        if (r >= 0)
                r = env_open(d.root, &d.env, &why);
        if (r >= 0)
                r = node_settings_load(&d.env, from_environment, &d.settings, &why);
        if (r >= 0)
                r = open_loop(&d, &why);
        if (r >= 0 && !d.validate)
                r = open_node(&d, &why);
        if (r >= 0)
                r = open_sides(&d, &why);
        if (r >= 0) {
                if (!d.validate)
                        log_notice("watching Node %s for %s/update-request", d.settings.node,
                                   d.settings.prefix);
                (void) sd_notify(false, "READY=1");
                r = sd_event_loop(d.event);
        }
        close_daemon(&d);
        if (r < 0) {
                log_failure(&why, r);
                return why.kind == WHY_NONE ? 1 : why_exit_code(&why);
        }
        return r;
}
