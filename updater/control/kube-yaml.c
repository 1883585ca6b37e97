/* SPDX-License-Identifier: MIT */

#include "control/kube-yaml.h"
#include "base/str.h"
#include "base/utf8.h"

#include <errno.h>
#include <yaml.h>

typedef struct Reader {
        yaml_parser_t parser;
        const char *what;
        unsigned nodes;
        Why *why;
} Reader;

static int refuse(Reader *r, const yaml_event_t *e, const char *problem)
{
        return fail(r->why, -EBADMSG, WHY_USAGE, "bad-yaml", "%s: line %zu: %s", r->what,
                    e->start_mark.line + 1, problem);
}

/* The next event; the caller deletes it. */
static int next(Reader *r, yaml_event_t *ret)
{
        if (yaml_parser_parse(&r->parser, ret))
                return 0;
        if (r->parser.error == YAML_MEMORY_ERROR)
                return -ENOMEM;
        return fail(r->why, -EBADMSG, WHY_USAGE, "bad-yaml", "%s: line %zu: %s", r->what,
                    r->parser.problem_mark.line + 1,
                    r->parser.problem ? r->parser.problem : "it cannot be read");
}

static int read_node(Reader *r, yaml_event_t *e, unsigned depth, Json **ret);

static int scalar_text(Reader *r, const yaml_event_t *e, char **ret)
{
        char *text;

        if (e->data.scalar.anchor)
                return refuse(r, e, "anchors are not taken");
        if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
                return refuse(r, e, "a NUL character");
        text = strndup((const char *) e->data.scalar.value, e->data.scalar.length);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

static int read_scalar(Reader *r, const yaml_event_t *e, Json **ret)
{
        _cleanup_(free_charp) char *text = NULL;
        bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        int error = scalar_text(r, e, &text);
        _cleanup_(json_unrefp) Json *holder = NULL;

        if (error < 0)
                return error;
        if (plain && (!*text || streq(text, "~") || streq(text, "null"))) {
                *ret = NULL;
                return 0;
        }
        if (plain && (streq(text, "true") || streq(text, "false"))) {
                holder = json_new_object();
                json_set_bool(holder, "v", streq(text, "true"));
                *ret = json_ref(json_get(holder, "v"));
        } else
                *ret = json_new_str(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_sequence(Reader *r, unsigned depth, Json **ret)
{
        _cleanup_(json_unrefp) Json *list = json_new_array();

        for (;;) {
                Json *item = NULL;
                yaml_event_t e;
                int error = next(r, &e);

                if (error < 0)
                        return error;
                if (e.type == YAML_SEQUENCE_END_EVENT) {
                        yaml_event_delete(&e);
                        *ret = TAKE(list);
                        return *ret ? 0 : -ENOMEM;
                }
                error = read_node(r, &e, depth + 1, &item);
                yaml_event_delete(&e);
                if (error < 0)
                        return error;
                json_add(list, item ? item : json_new_str(""));
        }
}

static int read_mapping(Reader *r, unsigned depth, Json **ret)
{
        _cleanup_(json_unrefp) Json *object = json_new_object();

        for (;;) {
                _cleanup_(free_charp) char *key = NULL;
                Json *value = NULL;
                yaml_event_t e;
                int error = next(r, &e);

                if (error < 0)
                        return error;
                if (e.type == YAML_MAPPING_END_EVENT) {
                        yaml_event_delete(&e);
                        *ret = TAKE(object);
                        return *ret ? 0 : -ENOMEM;
                }
                error = e.type == YAML_SCALAR_EVENT ? scalar_text(r, &e, &key)
                                                    : refuse(r, &e, "a name is wanted");
                if (error >= 0 && json_has(object, key))
                        error = refuse(r, &e, "the same name twice");
                yaml_event_delete(&e);
                if (error < 0 || (error = next(r, &e)) < 0)
                        return error;
                error = read_node(r, &e, depth + 1, &value);
                yaml_event_delete(&e);
                if (error < 0)
                        return error;
                if (value)
                        json_set(object, key, value);
                else
                        json_set_null(object, key);
        }
}

/* Consumes everything up to the end of the node that begins with e; e stays the caller's. */
static int read_node(Reader *r, yaml_event_t *e, unsigned depth, Json **ret)
{
        if (depth > YAML_DEPTH_MAX)
                return refuse(r, e, "it is nested too deeply");
        if (++r->nodes > YAML_NODES_MAX)
                return refuse(r, e, "it has too many values");
        switch (e->type) {
        case YAML_SCALAR_EVENT:
                return read_scalar(r, e, ret);
        case YAML_SEQUENCE_START_EVENT:
                return e->data.sequence_start.anchor ? refuse(r, e, "anchors are not taken")
                                                     : read_sequence(r, depth, ret);
        case YAML_MAPPING_START_EVENT:
                return e->data.mapping_start.anchor ? refuse(r, e, "anchors are not taken")
                                                    : read_mapping(r, depth, ret);
        case YAML_ALIAS_EVENT:
                return refuse(r, e, "aliases are not taken");
        default:
                return refuse(r, e, "a value is wanted");
        }
}

static int expect(Reader *r, yaml_event_type_t type)
{
        yaml_event_t e;
        int error = next(r, &e);

        if (error < 0)
                return error;
        error = e.type == type ? 0 : refuse(r, &e, "one document is wanted");
        yaml_event_delete(&e);
        return error;
}

static int read_document(Reader *r, Json **ret)
{
        _cleanup_(json_unrefp) Json *j = NULL;
        yaml_event_t e;
        int error;

        if ((error = expect(r, YAML_STREAM_START_EVENT)) < 0 ||
            (error = expect(r, YAML_DOCUMENT_START_EVENT)) < 0 || (error = next(r, &e)) < 0)
                return error;
        error = e.type == YAML_MAPPING_START_EVENT ? read_node(r, &e, 1, &j)
                                                   : refuse(r, &e, "it is no mapping");
        yaml_event_delete(&e);
        if (error < 0 || (error = expect(r, YAML_DOCUMENT_END_EVENT)) < 0 ||
            (error = expect(r, YAML_STREAM_END_EVENT)) < 0)
                return error;
        *ret = TAKE(j);
        return 0;
}

int kube_yaml_parse(const void *data, size_t size, const char *what, Json **ret, Why *why)
{
        Reader r = { .what = what, .why = why };
        int error;

        if (size > YAML_SIZE_MAX)
                return fail(why, -EFBIG, WHY_USAGE, "bad-yaml", "%s: it has %zu bytes, at most %u are read",
                            what, size, YAML_SIZE_MAX);
        if (!yaml_parser_initialize(&r.parser))
                return -ENOMEM;
        yaml_parser_set_input_string(&r.parser, data, size);
        error = read_document(&r, ret);
        yaml_parser_delete(&r.parser);
        return error;
}
