#include "common/core/http_parse.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/core/err.h"
#include "common/core/parse.h"

enum state {
    STATE_HEAD,       /* gathering lines up to the empty one */
    STATE_NO_BODY,    /* the end is due */
    STATE_LENGTH,     /* n_left bytes to come */
    STATE_UNTIL_EOF,  /* the end of the connection is the end of the body */
    STATE_CHUNK_SIZE, /* gathering the line */
    STATE_CHUNK_DATA, /* n_left bytes to come */
    STATE_CHUNK_END,  /* CRLF after the data */
    STATE_TRAILER,    /* gathering lines up to the empty one; they are thrown away */
    STATE_DONE,
    STATE_BROKEN
};

struct http_parser {
    enum state state;
    bool head_only;
    bool closes; /* HTTP/1.0, or it says so: nothing follows on this connection */
    uint64_t n_left;
    /* The head (its lines are cut into strings in place), later a line of chunk framing. */
    char *text;
    size_t n_text, n_room;
    size_t n_line;    /* bytes of the line being gathered */
    size_t n_trailer; /* bytes of trailers so far */
    int status;
    struct http_field field[HTTP_HEADERS_MAX];
    size_t n_fields;
    char *line; /* chunk framing */
};

int http_parser_new(bool head_only, struct http_parser **ret)
{
    struct http_parser *p = calloc(1, sizeof(*p));

    if (!p)
        return err_raise(-ENOMEM);
    p->head_only = head_only;
    *ret = p;
    return 0;
}

void http_parser_destroy(struct http_parser **p)
{
    if (!*p)
        return;
    free((*p)->text);
    free((*p)->line);
    free(*p);
    *p = NULL;
}

/* ---- characters ------------------------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value_char(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

bool http_is_token(const char *text)
{
    const char *c = text;

    while (is_token_char(*c))
        c++;
    return !*c && c > text;
}

bool http_is_field_value(const char *text)
{
    while (is_value_char(*text))
        text++;
    return !*text;
}

bool http_is_target(const char *text)
{
    const char *c = text;

    while ((unsigned char)*c > 0x20 && *c != 0x7f)
        c++;
    return !*c && c > text;
}

const char *http_field_get(const struct http_field *field, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(field[i].name, name) == 0)
            return field[i].value;
    return NULL;
}

/* ---- the head --------------------------------------------------------------------------------------------------- */

static int text_append(struct http_parser *p, const char *buf, size_t n)
{
    size_t room = p->n_room ? p->n_room : 1024;
    char *grown;

    while (room < p->n_text + n)
        room *= 2;
    if (room != p->n_room) {
        grown = realloc(p->text, room);
        if (!grown)
            return err_raise(-ENOMEM);
        p->text = grown;
        p->n_room = room;
    }
    memcpy(p->text + p->n_text, buf, n);
    p->n_text += n;
    return 0;
}

/* The next line of the head, cut into a string. NULL: it does not end in CRLF, or holds a NUL. */
static char *next_line(struct http_parser *p, size_t *offset)
{
    char *line = p->text + *offset;
    char *end = memchr(line, '\n', p->n_text - *offset);

    assert(end); /* the head was gathered up to its empty line */
    *offset = (size_t)(end - p->text) + 1;
    if (end == line || end[-1] != '\r')
        return NULL;
    end[-1] = '\0';
    return strlen(line) == (size_t)(end - 1 - line) ? line : NULL;
}

/* HTTP/1.x SP 3DIGIT SP reason */
static int parse_status_line(struct http_parser *p, const char *line)
{
    if (strncmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
        !is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) || (line[12] != ' ' && line[12] != '\0') ||
        !http_is_field_value(line + 12))
        return HTTP_E_MALFORMED;
    p->closes = line[7] == '0';
    p->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
    return p->status >= 100 && p->status <= 599 ? 0 : HTTP_E_MALFORMED;
}

static int parse_field_line(struct http_parser *p, char *line)
{
    char *value = strchr(line, ':');
    size_t n;

    if (!value)
        return HTTP_E_MALFORMED;
    *value++ = '\0';
    value += strspn(value, " \t");
    n = strlen(value);
    while (n && strchr(" \t", value[n - 1]))
        value[--n] = '\0';
    if (!http_is_token(line) || !http_is_field_value(value))
        return HTTP_E_MALFORMED; /* a folded line begins with a space and has no token either */
    if (p->n_fields == HTTP_HEADERS_MAX)
        return HTTP_E_TOO_LARGE;
    p->field[p->n_fields++] = (struct http_field){line, value};
    return 0;
}

static int parse_length(const char *text, uint64_t *ret)
{
    uint64_t n = 0;

    if (!*text)
        return HTTP_E_MALFORMED;
    for (; *text; text++) {
        if (!is_digit(*text) || n > (UINT64_MAX - 9) / 10)
            return HTTP_E_MALFORMED;
        n = n * 10 + (uint64_t)(*text - '0');
    }
    *ret = n;
    return 0;
}

/* Which framing the body has (RFC 9112, 6.3). */
static int decide_body(struct http_parser *p)
{
    const char *length = NULL, *coding = NULL;

    for (size_t i = 0; i < p->n_fields; i++) {
        const char **seen = strcasecmp(p->field[i].name, "Content-Length") == 0      ? &length
                            : strcasecmp(p->field[i].name, "Transfer-Encoding") == 0 ? &coding
                                                                                     : NULL;

        if (!seen)
            continue;
        if (*seen)
            return HTTP_E_MALFORMED; /* twice */
        *seen = p->field[i].value;
    }
    if ((length && coding) || (coding && strcasecmp(coding, "chunked") != 0))
        return HTTP_E_MALFORMED;
    if (length && parse_length(length, &p->n_left) != 0)
        return HTTP_E_MALFORMED;
    if (p->head_only || p->status == 204 || p->status == 304)
        p->state = STATE_NO_BODY;
    else if (coding)
        p->state = STATE_CHUNK_SIZE;
    else if (length)
        p->state = STATE_LENGTH;
    else
        p->state = STATE_UNTIL_EOF;
    return 0;
}

/* Anything but one "keep-alive" counts as a close: to open another connection is never wrong. */
static void note_connection(struct http_parser *p)
{
    for (size_t i = 0; i < p->n_fields; i++)
        if (strcasecmp(p->field[i].name, "Connection") == 0)
            p->closes = p->closes || strcasecmp(p->field[i].value, "keep-alive") != 0;
}

/* p->text is a whole head. */
static int parse_head(struct http_parser *p)
{
    size_t offset = 0;
    char *line = next_line(p, &offset);
    int r;

    r = line ? parse_status_line(p, line) : HTTP_E_MALFORMED;
    while (!r && offset < p->n_text) {
        line = next_line(p, &offset);
        if (line && !*line && offset == p->n_text)
            break; /* the empty line */
        r = line ? parse_field_line(p, line) : HTTP_E_MALFORMED;
    }
    if (r)
        return r;
    if (p->status == 101)
        return HTTP_E_MALFORMED; /* we never ask for another protocol */
    if (p->status < 200) {       /* interim: forget it, the answer is still to come */
        p->n_text = 0;
        p->n_fields = 0;
        return 0;
    }
    note_connection(p);
    return decide_body(p);
}

/* Takes up to the end of the head. *ret_whole: it was reached. */
static int gather_head(struct http_parser *p, const char *buf, size_t n, size_t *ret_used, bool *ret_whole)
{
    size_t used = 0;
    bool whole = false;

    while (used < n && !whole) {
        const char *end = memchr(buf + used, '\n', n - used);
        size_t n_piece = end ? (size_t)(end - (buf + used)) + 1 : n - used;

        used += n_piece;
        p->n_line += n_piece;
        if (!end)
            break;
        whole = p->n_line <= 2; /* CRLF alone (or LF alone, which parse_head refuses) */
        p->n_line = 0;
    }
    if (p->n_text + used > HTTP_HEAD_MAX)
        return HTTP_E_TOO_LARGE;
    *ret_used = used;
    *ret_whole = whole;
    return used ? text_append(p, buf, used) : 0;
}

static int step_head(struct http_parser *p, const char *buf, size_t n, size_t *ret_used, struct http_part *ret)
{
    bool whole = false;
    int r = gather_head(p, buf, n, ret_used, &whole);

    if (r || !whole)
        return r;
    r = parse_head(p);
    if (r || p->state == STATE_HEAD)
        return r;
    *ret = (struct http_part){.kind = HTTP_PART_HEAD, .status = p->status, .field = p->field, .n_fields = p->n_fields};
    return 0;
}

/* ---- the body --------------------------------------------------------------------------------------------------- */

static void step_data(struct http_parser *p, const char *buf, size_t n, size_t *ret_used, struct http_part *ret,
                      enum state after)
{
    size_t n_piece = n < p->n_left ? n : (size_t)p->n_left;

    p->n_left -= n_piece;
    if (!p->n_left)
        p->state = after;
    *ret_used = n_piece;
    if (n_piece)
        *ret = (struct http_part){.kind = HTTP_PART_DATA, .data = buf, .n_bytes = n_piece};
}

/* Gathers one line of chunk framing, without its CRLF. *ret_whole: it is in p->line, as a string. */
static int gather_line(struct http_parser *p, const char *buf, size_t n, size_t *ret_used, bool *ret_whole)
{
    const char *end = memchr(buf, '\n', n);
    size_t n_piece = end ? (size_t)(end - buf) + 1 : n;

    if (!p->line && !(p->line = malloc(HTTP_CHUNK_LINE_MAX)))
        return err_raise(-ENOMEM);
    if (p->n_line + n_piece > HTTP_CHUNK_LINE_MAX)
        return HTTP_E_TOO_LARGE;
    memcpy(p->line + p->n_line, buf, n_piece);
    p->n_line += n_piece;
    *ret_used = n_piece;
    if (!end)
        return 0;
    if (p->n_line < 2 || p->line[p->n_line - 2] != '\r' || memchr(p->line, '\0', p->n_line))
        return HTTP_E_MALFORMED;
    p->line[p->n_line - 2] = '\0';
    p->n_line = 0;
    *ret_whole = true;
    return 0;
}

/* 1*HEXDIG, then nothing or an extension, which is ignored. */
static int parse_chunk_size(const char *line, uint64_t *ret)
{
    uint64_t n = 0;
    int n_digits = 0;

    for (; parse_hex_digit(*line) >= 0; line++, n_digits++)
        n = n * 16 + (uint64_t)parse_hex_digit(*line);
    if (n_digits < 1 || n_digits > 15)
        return HTTP_E_MALFORMED;
    line += strspn(line, " \t");
    if (*line && *line != ';')
        return HTTP_E_MALFORMED;
    *ret = n;
    return 0;
}

static int step_chunk_size(struct http_parser *p, const char *buf, size_t n, size_t *ret_used)
{
    bool whole = false;
    int r = gather_line(p, buf, n, ret_used, &whole);

    if (r || !whole)
        return r;
    r = parse_chunk_size(p->line, &p->n_left);
    if (!r)
        p->state = p->n_left ? STATE_CHUNK_DATA : STATE_TRAILER;
    return r;
}

static int step_chunk_end(struct http_parser *p, const char *buf, size_t n, size_t *ret_used)
{
    bool whole = false;
    int r = gather_line(p, buf, n, ret_used, &whole);

    if (r || !whole)
        return r;
    p->state = STATE_CHUNK_SIZE;
    return *p->line ? HTTP_E_MALFORMED : 0;
}

static int step_trailer(struct http_parser *p, const char *buf, size_t n, size_t *ret_used)
{
    bool whole = false;
    int r = gather_line(p, buf, n, ret_used, &whole);

    p->n_trailer += *ret_used;
    if (!r && p->n_trailer > HTTP_HEAD_MAX)
        return HTTP_E_TOO_LARGE;
    if (!r && whole && !*p->line)
        p->state = STATE_NO_BODY;
    return r;
}

static int step(struct http_parser *p, const char *buf, size_t n, size_t *ret_used, struct http_part *ret)
{
    switch (p->state) {
    case STATE_HEAD:
        return step_head(p, buf, n, ret_used, ret);
    case STATE_NO_BODY:
        p->state = STATE_DONE;
        ret->kind = HTTP_PART_END;
        return 0;
    case STATE_LENGTH:
        step_data(p, buf, n, ret_used, ret, STATE_NO_BODY);
        return 0;
    case STATE_UNTIL_EOF:
        p->n_left = UINT64_MAX;
        step_data(p, buf, n, ret_used, ret, STATE_UNTIL_EOF);
        return 0;
    case STATE_CHUNK_SIZE:
        return step_chunk_size(p, buf, n, ret_used);
    case STATE_CHUNK_DATA:
        step_data(p, buf, n, ret_used, ret, STATE_CHUNK_END);
        return 0;
    case STATE_CHUNK_END:
        return step_chunk_end(p, buf, n, ret_used);
    case STATE_TRAILER:
        return step_trailer(p, buf, n, ret_used);
    case STATE_DONE:
        ret->kind = HTTP_PART_END;
        return 0;
    case STATE_BROKEN:
        break;
    }
    return HTTP_E_MALFORMED;
}

int http_parse(struct http_parser *p, const char *buf, size_t n_bytes, size_t *ret_used, struct http_part *ret)
{
    size_t used = 0;
    int r;

    *ret = (struct http_part){.kind = HTTP_PART_NONE};
    do {
        size_t n_step = 0;
        enum state before = p->state;

        r = step(p, buf + used, n_bytes - used, &n_step, ret);
        used += n_step;
        if (r > 0)
            p->state = STATE_BROKEN;
        if (!n_step && p->state == before)
            break; /* no progress without more bytes */
    } while (!r && ret->kind == HTTP_PART_NONE);
    *ret_used = used;
    return r;
}

int http_parse_eof(const struct http_parser *p)
{
    return p->state == STATE_UNTIL_EOF || p->state == STATE_NO_BODY || p->state == STATE_DONE ? 0 : HTTP_E_CUT;
}

bool http_parse_reusable(const struct http_parser *p)
{
    return p->state == STATE_DONE && !p->closes;
}
