/* SPDX-License-Identifier: MIT */

#include "control/kube-watch.h"
#include "base/str.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>

#define DEPTH_MAX 64u /* managedFields nest as deeply as the object they describe, twice */

void kube_node_done(KubeNode *n)
{
        free(n->name);
        free(n->uid);
        free(n->version);
        free(n->system_uuid);
        free(n->request);
        free(n->status);
        free(n->commit_status);
        *n = (KubeNode){ 0 };
}

void kube_event_done(KubeEvent *e)
{
        kube_node_done(&e->node);
}

void kube_stream_done(KubeStream *s)
{
        bytes_done(&s->rest);
}

static bool copy_text(char **to, const char *from)
{
        *to = from ? strdup(from) : NULL;
        return !from || *to;
}

static bool copy_annotation(const Json *annotations, const char *prefix, const char *name, char **ret)
{
        _cleanup_(free_charp) char *key = str_printf("%s/%s", prefix, name);

        return key && copy_text(ret, json_get_str(annotations, key));
}

int kube_node_read(const Json *j, const char *prefix, KubeNode *ret)
{
        const Json *m = json_get(j, "metadata"), *a = json_get(m, "annotations");
        const Json *info = json_get(json_get(j, "status"), "nodeInfo");
        KubeNode n = { 0 };

        if (!json_is_object(m))
                return -EBADMSG;
        if (copy_text(&n.name, json_get_str(m, "name")) && copy_text(&n.uid, json_get_str(m, "uid")) &&
            copy_text(&n.version, json_get_str(m, "resourceVersion")) &&
            copy_text(&n.system_uuid, json_get_str(info, "systemUUID")) &&
            copy_annotation(a, prefix, "update-request", &n.request) &&
            copy_annotation(a, prefix, "update-status", &n.status) &&
            copy_annotation(a, prefix, "update-commit-status", &n.commit_status)) {
                *ret = n;
                return 0;
        }
        kube_node_done(&n);
        return -ENOMEM;
}

static int parse_object(const void *data, size_t size, Json **ret, Why *why)
{
        int r;

        if (size > KUBE_OBJECT_MAX)
                return fail(why, -EFBIG, WHY_NETWORK, "kube-answer",
                            "API server: an object of more than %u bytes", KUBE_OBJECT_MAX);
        r = json_parse(data, size, JSON_FRACTIONS, DEPTH_MAX, "API server", WHY_NETWORK, ret, why);
        if (r < 0)
                return r;
        return json_is_object(*ret)
                       ? 0
                       : fail(why, -EBADMSG, WHY_NETWORK, "kube-answer", "API server: no object");
}

int kube_node_parse(const void *data, size_t size, const char *prefix, KubeNode *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r = parse_object(data, size, &j, why);

        if (r >= 0)
                r = kube_node_read(j, prefix, ret);
        return r == -EBADMSG ? fail(why, r, WHY_NETWORK, "kube-answer", "API server: this is no Node") : r;
}

int kube_list_parse(const void *data, size_t size, const char *prefix, const char *name, KubeNode *ret,
                    char **ret_version, Why *why)
{
        _cleanup_(free_charp) char *version = NULL;
        _cleanup_(json_unrefp) Json *j = NULL;
        KubeNode n = { 0 };
        int r = parse_object(data, size, &j, why);

        if (r < 0)
                return r;
        if (!streq0(json_get_str(j, "kind"), "NodeList") ||
            !json_get_str(json_get(j, "metadata"), "resourceVersion"))
                return fail(why, -EBADMSG, WHY_NETWORK, "kube-answer",
                            "API server: this is no list of Nodes");
        version = strdup(json_get_str(json_get(j, "metadata"), "resourceVersion"));
        if (!version)
                return -ENOMEM;
        r = 0;
        json_foreach (item, json_get(j, "items"))
                if (r == 0 && streq0(json_get_str(json_get(item, "metadata"), "name"), name))
                        r = kube_node_read(item, prefix, &n) < 0 ? -ENOMEM : 1;
        if (r < 0)
                return r;
        if (r > 0)
                *ret = n;
        *ret_version = TAKE(version);
        return r;
}

void kube_say_status(const void *data, size_t size, char *ret, size_t ret_size)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        const char *text = NULL;
        Why why = { 0 };

        if (size <= KUBE_OBJECT_MAX &&
            json_parse(data, size, JSON_FRACTIONS, DEPTH_MAX, "", WHY_NETWORK, &j, &why) >= 0)
                text = json_get_str(j, "message");
        (void) snprintf(ret, ret_size, "%s", text ? text : "");
        utf8_repair(ret);
}

bool kube_version_not_before(const char *a, const char *b)
{
        uint64_t x, y;

        return !a || !b || parse_u64(a, &x) < 0 || parse_u64(b, &y) < 0 || x >= y;
}

/* --- the stream --- */

static int read_error(const Json *object, KubeEvent *e)
{
        const char *message = json_get_str(object, "message");
        uint64_t code = 0;

        (void) json_get_u64(object, "code", &code);
        e->code = code <= 999 ? (unsigned) code : 0;
        (void) snprintf(e->message, sizeof(e->message), "%s", message ? message : "");
        utf8_repair(e->message);
        return 0;
}

static int read_event(const KubeStream *s, const void *line, size_t size, KubeEvent *e, Why *why)
{
        static const char *const names[_KUBE_EVENT_MAX] = { "ADDED", "MODIFIED", "DELETED", "BOOKMARK",
                                                            "ERROR" };
        _cleanup_(json_unrefp) Json *j = NULL;
        const char *type;
        int r = parse_object(line, size, &j, why);

        if (r < 0)
                return r;
        type = json_get_str(j, "type");
        for (e->type = 0; e->type < _KUBE_EVENT_MAX && !streq0(type, names[e->type]); e->type++)
                ;
        if (e->type == _KUBE_EVENT_MAX)
                return fail(why, -EBADMSG, WHY_NETWORK, "kube-answer",
                            "API server: an event of no known type");
        if (e->type == KUBE_ERROR)
                return read_error(json_get(j, "object"), e);
        r = kube_node_read(json_get(j, "object"), s->prefix, &e->node);
        return r == -EBADMSG
                       ? fail(why, r, WHY_NETWORK, "kube-answer", "API server: an event without an object")
                       : r;
}

int kube_stream_feed(KubeStream *s, const void *data, size_t size, int (*f)(void *ctx, KubeEvent *e),
                     void *ctx, Why *why)
{
        const char *p = data, *end = p + size;

        while (p < end) {
                const char *nl = memchr(p, '\n', (size_t) (end - p));
                size_t n = (size_t) ((nl ? nl : end) - p);
                _cleanup_(kube_event_done) KubeEvent e = { 0 };
                const void *line = p;
                int r = 0;

                if (s->rest.size + n > KUBE_OBJECT_MAX)
                        return fail(why, -EFBIG, WHY_NETWORK, "kube-answer",
                                    "API server: an event of more than %u bytes", KUBE_OBJECT_MAX);
                if (!nl || s->rest.size > 0)
                        r = bytes_append(&s->rest, p, n);
                p += n + 1;
                if (r < 0 || !nl)
                        return r;
                if (s->rest.size > 0) {
                        line = s->rest.data;
                        n = s->rest.size;
                }
                if (n > 0) {
                        r = read_event(s, line, n, &e, why);
                        if (r >= 0)
                                r = f(ctx, &e);
                }
                bytes_done(&s->rest);
                if (r != 0)
                        return r;
        }
        return 0;
}
