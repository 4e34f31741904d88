/* SPDX-License-Identifier: Apache-2.0 */
/* Options from a table. */
#include "cli/args.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/utf8.h"

struct parse {
	int argc, at;
	char **argv;
	const struct arg_option *options;
	size_t count;
	void *out;
};

static int set_value(struct parse *p, const struct arg_option *o, const char *value,
		     struct err *e)
{
	void *member = (char *)p->out + o->offset;

	if (o->type == ARG_LIST)
		return strv_add(member, value, e);
	*(const char **)member = value;
	return 0;
}

static int set_flag(struct parse *p, const struct arg_option *o, const char *value,
		    struct err *e)
{
	bool on = !value || str_eq(value, "true") || str_eq(value, "1");

	if (!on && !str_eq(value, "false") && !str_eq(value, "0"))
		return err_set(e, ERR_INVALID, 0, "--%s: '%.64s' is neither true nor false",
			       o->name, value);
	*(bool *)((char *)p->out + o->offset) = on;
	return 0;
}

/* The value behind an option: attached (may be NULL) or the next word. */
static int take_value(struct parse *p, const struct arg_option *o, const char *attached,
		      struct err *e)
{
	if (!attached) {
		if (p->at + 1 >= p->argc)
			return err_set(e, ERR_INVALID, 0, "--%s needs a value (%s)", o->name,
				       o->value);
		attached = p->argv[++p->at];
	}
	return set_value(p, o, attached, e);
}

/* How many letters at the beginning two names share: enough to guess what was meant. */
static size_t shared_prefix(const char *a, const char *b)
{
	size_t n = 0;

	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

static int unknown(struct parse *p, const char *word, const char *name, struct err *e)
{
	const struct arg_option *best = NULL;
	size_t best_len = 1;

	if (str_eq(word, "--help") || str_eq(word, "-h"))
		return err_set(e, ERR_CANCELLED, 0, "help is asked for");
	for (size_t i = 0; i < p->count; i++) {
		size_t n = shared_prefix(p->options[i].name, name);

		if (n > best_len) {
			best = &p->options[i];
			best_len = n;
		}
	}
	return err_set(e, ERR_INVALID, 0, "unknown option '%.64s'%s%s%s, see --help", word,
		       best ? "; did you mean --" : "", best ? best->name : "",
		       best ? "?" : "");
}

static int parse_long(struct parse *p, const char *word, struct err *e)
{
	const char *name = word + 2, *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);

	for (size_t i = 0; i < p->count; i++) {
		const struct arg_option *o = &p->options[i];

		if (strlen(o->name) != len || memcmp(o->name, name, len) != 0)
			continue;
		if (o->type == ARG_FLAG)
			return set_flag(p, o, eq ? eq + 1 : NULL, e);
		return take_value(p, o, eq ? eq + 1 : NULL, e);
	}
	return unknown(p, word, name, e);
}

static const struct arg_option *by_letter(struct parse *p, char c)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->options[i].letter == c)
			return &p->options[i];
	}
	return NULL;
}

static int parse_short(struct parse *p, const char *word, struct err *e)
{
	for (const char *c = word + 1; *c; c++) {
		const struct arg_option *o = by_letter(p, *c);

		if (!o)
			return unknown(p, word, c, e);
		if (o->type != ARG_FLAG)
			return take_value(p, o, c[1] ? c + 1 + (c[1] == '=') : NULL, e);
		if (set_flag(p, o, NULL, e) < 0)
			return -1;
	}
	return 0;
}

static bool is_operand(const char *word)
{
	return word[0] != '-' || word[1] == '\0';
}

static int parse_word(struct parse *p, const char *word, struct err *e)
{
	return word[1] == '-' ? parse_long(p, word, e) : parse_short(p, word, e);
}

int args_parse(int argc, char **argv, const struct arg_option *options, size_t count, void *out,
	       int *first, struct err *e)
{
	struct parse p = {
		.argc = argc, .argv = argv, .options = options, .count = count, .out = out
	};

	for (; p.at < argc && !is_operand(argv[p.at]); p.at++) {
		if (str_eq(argv[p.at], "--")) {
			p.at++;
			break;
		}
		if (parse_word(&p, argv[p.at], e) < 0)
			return -1;
	}
	*first = p.at;
	return 0;
}

int args_parse_mixed(int argc, char **argv, const struct arg_option *options, size_t count,
		     void *out, int *first, struct err *e)
{
	struct parse p = {
		.argc = argc, .argv = argv, .options = options, .count = count, .out = out
	};
	OWN(free) char **operands = mem_calloc((size_t)argc + 1, sizeof(*operands));
	bool behind = false; /* of "--" */
	int n = 0;

	if (!operands)
		return err_oom(e, "arguments");
	for (; p.at < argc; p.at++) {
		if (behind || is_operand(argv[p.at]))
			operands[n++] = argv[p.at];
		else if (str_eq(argv[p.at], "--"))
			behind = true;
		else if (parse_word(&p, argv[p.at], e) < 0)
			return -1;
	}
	*first = argc - n;
	memcpy(argv + *first, operands, (size_t)n * sizeof(*operands));
	return 0;
}

void args_help(FILE *f, const struct arg_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct arg_option *o = &options[i];
		char left[64], letter[8] = "    ";

		if (o->letter)
			(void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		(void)snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name,
			       o->value ? " " : "", o->value ? o->value : "");
		(void)fprintf(f, "  %-28s %s\n", left, o->help);
	}
}

void args_manual(FILE *f, const struct arg_option *options, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct arg_option *o = &options[i];

		(void)fprintf(f, ".TP\n.B ");
		if (o->letter)
			(void)fprintf(f, "\\-%c, ", o->letter);
		(void)fprintf(f, "\\-\\-%s%s%s\n%s\n", o->name, o->value ? " " : "",
			      o->value ? o->value : "", o->help);
	}
}

int args_check_text(int argc, char *const *argv, struct err *e)
{
	char quoted[128];

	for (int i = 0; i < argc; i++) {
		size_t len = strlen(argv[i]);

		if (!utf8_valid(argv[i], len))
			return err_set(e, ERR_INVALID, 0, "argument '%s' is not UTF-8",
				       str_quote(argv[i], len, quoted, sizeof(quoted)));
	}
	return 0;
}
