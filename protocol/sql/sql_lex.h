/* sql_lex.h - cuts SQL text into tokens as PostgreSQL's own scanner does, without allocation.
 *
 * Called by sql_normalize (each statement), sql_classify (a statement's first sight) and tests.
 * Pure: a struct sql_lex on the stack, tokens that borrow from the text.  Any thread.
 *
 * The boundaries are exact for UTF-8, all server encodings and both settings of
 * standard_conforming_strings (SQL_DIALECT_BACKSLASH).  Client encodings whose characters contain
 * ASCII bytes (SQL_DIALECT_MULTIBYTE) cannot be cut without knowing them: any high byte is then
 * SQL_TOK_BAD. Whatever is not closed, or cannot start a token, is SQL_TOK_BAD, and so is
 * everything after it.
 */
#ifndef PENSTOCK_SQL_LEX_H
#define PENSTOCK_SQL_LEX_H

#include "base/base.h"
#include "base/str.h"
#include "protocol/sql_facts.h"

enum sql_token_kind {
    SQL_TOK_END = 0,
    SQL_TOK_BAD,     /* unterminated, or no token of SQL; sticky */
    SQL_TOK_WORD,    /* unquoted identifier or keyword, not folded */
    SQL_TOK_QUOTED,  /* "..." */
    SQL_TOK_UQUOTED, /* U&"..." */
    SQL_TOK_STRING,  /* '...' with its continuations */
    SQL_TOK_ESTRING, /* E'...' */
    SQL_TOK_USTRING, /* U&'...' */
    SQL_TOK_NSTRING, /* N'...' */
    SQL_TOK_BITS,    /* B'...' and X'...' */
    SQL_TOK_DOLLAR,  /* $tag$...$tag$ */
    SQL_TOK_NUMBER,
    SQL_TOK_PARAM, /* $1 */
    SQL_TOK_OP,
    SQL_TOK_CAST, /* :: */
    SQL_TOK_SELF, /* one of , ( ) [ ] . ; : */
};

struct sql_token {
    struct str text; /* as written, quotes and prefix included */
    enum sql_token_kind kind;
    bool space; /* blanks or a comment stand before it */
};

struct sql_lex {
    const char *p, *end;
    uint32_t dialect;
    uint32_t ntokens;    /* handed out so far */
    struct str hint;     /* text of a comment "penstock: ..." before the first token ... */
    struct str trailer;  /* ... or the last one seen since, */
    uint32_t trailer_at; /* after so many tokens */
    bool bad;
};

void sql_lex_init(struct sql_lex *lx, struct str text, uint32_t dialect);

/* The next token; its kind is also returned. */
enum sql_token_kind sql_lex_next(struct sql_lex *lx, struct sql_token *tok);

/* After SQL_TOK_END: the hint that stands before or behind everything else, or empty. */
struct str sql_lex_hint(const struct sql_lex *lx);

/* The token is the unquoted word w (lower case), in any case. */
bool sql_lex_is_word(const struct sql_token *tok, struct str w);
/* The token is the one-character SQL_TOK_SELF c. */
bool sql_lex_is_self(const struct sql_token *tok, char c);

/* The name that a WORD (folded) or QUOTED token (unquoted) stands for, written to dst. false: it is
 * no name, is empty, or does not fit; cap of 64 gives PostgreSQL's limit of 63 bytes. */
bool sql_lex_name(const struct sql_token *tok, char *dst, size_t cap,
                  struct str *out) ATTR_NODISCARD;

#endif
