/* SPDX-License-Identifier: MIT */

#include "control/node-request.h"
#include "base/json.h"
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static const char *const operation_names[_NODE_OPERATION_MAX] = {
        [NODE_STAGE] = "stage",
        [NODE_FINALIZE] = "finalize",
        [NODE_ROLLBACK] = "rollback",
        [NODE_COMMIT] = "commit",
};

const char *node_operation_name(NodeOperation o)
{
        return (unsigned) o < _NODE_OPERATION_MAX ? operation_names[o] : "unknown";
}

NodeOperation node_operation_from_name(const char *name)
{
        for (NodeOperation o = 0; o < _NODE_OPERATION_MAX; o++)
                if (streq0(name, operation_names[o]))
                        return o;
        return _NODE_OPERATION_INVALID;
}

void node_request_done(NodeRequest *r)
{
        free(r->target_version);
        free(r->server);
        free(r->app_id);
        free(r->track);
        *r = (NodeRequest){ 0 };
}

static bool copy_text(char **to, const char *from)
{
        *to = from ? strdup(from) : NULL;
        return !from || *to;
}

int node_request_copy(const NodeRequest *from, NodeRequest *ret)
{
        NodeRequest r = { .operation = from->operation };

        memcpy(r.node_update_id, from->node_update_id, sizeof(r.node_update_id));
        memcpy(r.operation_id, from->operation_id, sizeof(r.operation_id));
        if (!copy_text(&r.target_version, from->target_version) || !copy_text(&r.server, from->server) ||
            !copy_text(&r.app_id, from->app_id) || !copy_text(&r.track, from->track)) {
                node_request_done(&r);
                return -ENOMEM;
        }
        node_request_done(ret);
        *ret = r;
        return 0;
}

/* --- ids --- */

/* ^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$ */
static bool is_uuid(const char *s, size_t n)
{
        if (n != NODE_UUID_SIZE - 1)
                return false;
        for (size_t i = 0; i < n; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? s[i] != '-' : !isxdigit((unsigned char) s[i]))
                        return false;
        }
        return true;
}

static bool take_uuid(const char *s, char ret[NODE_UUID_SIZE])
{
        if (!s || !is_uuid(s, strlen(s)))
                return false;
        memcpy(ret, s, NODE_UUID_SIZE);
        return true;
}

static const char *skip_blanks(const char *p, const char *end)
{
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
                p++;
        return p;
}

/* "key" : "value" somewhere in a text that is no JSON. All of them have to agree, or it is not known whom to answer. */
static bool find_text(const char *text, size_t size, const char *key, size_t max, const char **ret,
                      size_t *ret_size)
{
        const char *end = text + size, *p = text, *found = NULL;
        size_t n = strlen(key), found_size = 0;

        while ((p = memmem(p, (size_t) (end - p), key, n))) {
                const char *v = skip_blanks(p + n, end), *close;

                p += n;
                if (v >= end || *v != ':')
                        continue;
                v = skip_blanks(v + 1, end);
                if (v >= end || *v != '"')
                        continue;
                v++;
                close = memchr(v, '"', (size_t) (end - v));
                if (!close || (size_t) (close - v) > max)
                        continue;
                if (found && (found_size != (size_t) (close - v) || memcmp(found, v, found_size) != 0))
                        return false;
                found = v;
                found_size = (size_t) (close - v);
        }
        if (!found)
                return false;
        *ret = found;
        *ret_size = found_size;
        return true;
}

static bool find_uuid(const char *text, size_t size, const char *key, char ret[NODE_UUID_SIZE])
{
        const char *v;
        size_t n;

        if (!find_text(text, size, key, NODE_UUID_SIZE, &v, &n) || !is_uuid(v, n))
                return false;
        memcpy(ret, v, n);
        ret[n] = 0;
        return true;
}

/* An answer needs an operation; where the request has none that exists, the sentence says so. */
static NodeOperation asked_for(const char *name)
{
        NodeOperation o = node_operation_from_name(name);

        return o < 0 || o == NODE_COMMIT ? NODE_STAGE : o;
}

static NodeRequestIs salvage(const char *text, size_t size, NodeRequest *ret)
{
        char name[16] = "";
        const char *v;
        size_t n;

        size = MIN(size, (size_t) NODE_ANNOTATION_MAX);
        if (find_text(text, size, "\"operation\"", sizeof(name) - 1, &v, &n))
                memcpy(name, v, n);
        ret->operation = asked_for(name);
        return find_uuid(text, size, "\"nodeUpdateId\"", ret->node_update_id) &&
                               find_uuid(text, size, "\"operationId\"", ret->operation_id)
                       ? NODE_REQUEST_INVALID
                       : NODE_REQUEST_NOISE;
}

/* --- rules --- */

static int wrong(Why *why, const char *fmt, ...) _printf_(2, 3);
static int wrong(Why *why, const char *fmt, ...)
{
        char text[300];
        va_list ap;

        va_start(ap, fmt);
        (void) vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        return fail(why, -EBADMSG, WHY_USAGE, "invalid-request", "update-request: %s", text);
}

typedef struct Check {
        Why *why;
        int r;
} Check;

static int check_member(void *ctx, const char *key, const Json *value)
{
        static const char *const known[] = { "schemaVersion", "nodeUpdateId", "operationId", "operation",
                                             "targetVersion", "server",       "appId",       "track" };
        const char *text = json_str(value);
        bool is_known = false;
        Check *c = ctx;

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                is_known = is_known || streq(key, known[i]);
        if (!is_known)
                c->r = wrong(c->why, "unknown field \"%.60s\"", key);
        else if (!text)
                c->r = wrong(c->why, "%s is not a string", key);
        else if (strlen(text) > NODE_TEXT_MAX)
                c->r = wrong(c->why, "%s has %zu bytes, at most %u are taken", key, strlen(text),
                             NODE_TEXT_MAX);
        for (const char *p = text; c->r == 0 && p && *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        c->r = wrong(c->why, "%s has a control character", key);
        return c->r;
}

/* ^https://[^/], and nothing in it that a URL cannot have */
static bool is_server(const char *url)
{
        const char *host = url + strlen("https://");

        if (!str_starts(url, "https://") || !*host || *host == '/' || *host == '?' || *host == '#')
                return false;
        for (const char *p = host; *p; p++)
                if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f || strchr("\"<>\\^`{|}", *p))
                        return false;
        return true;
}

static int check_target(const Json *j, const char *operation, Why *why)
{
        static const char *const needed[] = { "targetVersion", "server", "appId", "track" };

        for (size_t i = 0; i < ELEMENTSOF(needed); i++) {
                const char *text = json_get_str(j, needed[i]);

                if (!text || !*text)
                        return wrong(why, "%s needs %s", operation, needed[i]);
        }
        if (!is_server(json_get_str(j, "server")))
                return wrong(why, "server is no https URL");
        return 0;
}

static int check(const Json *j, Why *why)
{
        const char *operation = json_get_str(j, "operation"), *schema = json_get_str(j, "schemaVersion");
        Check c = { .why = why };
        char id[NODE_UUID_SIZE];
        NodeOperation o;

        if (json_each(j, check_member, &c) < 0)
                return c.r;
        if (!streq0(schema, "1.0"))
                return wrong(why, "schemaVersion is %.60s, this agent knows 1.0",
                             schema ? schema : "missing");
        if (!take_uuid(json_get_str(j, "nodeUpdateId"), id))
                return wrong(why, "nodeUpdateId is no UUID");
        if (!take_uuid(json_get_str(j, "operationId"), id))
                return wrong(why, "operationId is no UUID");
        o = node_operation_from_name(operation);
        if (o < 0 || o == NODE_COMMIT)
                return wrong(why, "operation is %.60s, not stage, finalize or rollback",
                             operation ? operation : "missing");
        if (o == NODE_ROLLBACK)
                return json_has(j, "targetVersion") ? wrong(why, "rollback takes no targetVersion") : 0;
        return check_target(j, operation, why);
}

static int fill(const Json *j, NodeRequest *r)
{
        bool good = copy_text(&r->target_version, json_get_str(j, "targetVersion")) &&
                    copy_text(&r->server, json_get_str(j, "server")) &&
                    copy_text(&r->app_id, json_get_str(j, "appId")) &&
                    copy_text(&r->track, json_get_str(j, "track"));

        return good ? 0 : -ENOMEM;
}

int node_request_parse(const char *text, size_t size, NodeRequest *ret, Why *why)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        int r;

        *ret = (NodeRequest){ .operation = NODE_STAGE };
        if (size > NODE_ANNOTATION_MAX) {
                (void) wrong(why, "it has %zu bytes, at most %u are taken", size, NODE_ANNOTATION_MAX);
                return salvage(text, size, ret);
        }
        r = json_parse(text, size, 0, JSON_DEPTH_MAX, "update-request", WHY_USAGE, &j, why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return salvage(text, size, ret);
        if (!json_is_object(j)) {
                (void) wrong(why, "it is no object");
                return NODE_REQUEST_NOISE;
        }
        r = check(j, why);
        ret->operation = asked_for(json_get_str(j, "operation"));
        if (!take_uuid(json_get_str(j, "nodeUpdateId"), ret->node_update_id) ||
            !take_uuid(json_get_str(j, "operationId"), ret->operation_id))
                return NODE_REQUEST_NOISE;
        if (r < 0)
                return NODE_REQUEST_INVALID;
        r = fill(j, ret);
        return r < 0 ? r : NODE_REQUEST_VALID;
}
