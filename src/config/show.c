/* SPDX-License-Identifier: Apache-2.0 */
/* What `kata-runtime env` shows of a configuration: the rows of the schema that name a place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/own.h"
#include "base/str.h"
#include "config/config.h"
#include "config/schema.h"
#include "wire/json.h"

enum {
	WORD_MAX = 64
};

/* ---- keys that are acted upon ---- */

static struct jval *list_value(config_list list, struct err *e)
{
	OWN(jval) struct jval *array = jval_new_array();

	for (size_t i = 0; array && list[i]; i++)
		if (jval_push(array, jval_new_str(list[i]), e) < 0)
			return NULL;
	return TAKE(array);
}

static struct jval *value_of(const struct config_key *k, const void *at, struct err *e)
{
	switch (k->type) {
	case CONFIG_BOOL:
		return jval_new_bool(*(const bool *)at);
	case CONFIG_UINT:
		return jval_new_uint(*(const uint32_t *)at);
	case CONFIG_REAL:
		return jval_new_double(*(const double *)at);
	case CONFIG_CHOICE:
		return jval_new_str(k->choices[*(const int *)at]);
	case CONFIG_LIST:
		return list_value(*(const config_list *)at, e);
	default:
		return jval_new_str(*(const char *const *)at);
	}
}

static int show_keys(const struct kata_config *c, struct jval *out, struct err *e)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];
		const void *at = (const char *)c + k->offset;

		if (k->env && jval_set(out, k->env, value_of(k, at, e), e) < 0)
			return -1;
	}
	return 0;
}

/* ---- keys of other implementations ---- */

/* The first word that is not empty, as a value: whatever else was written is not in effect. */
static struct jval *neutral_value(const struct config_reserved *k)
{
	const char *from = k->neutral + strspn(k->neutral, "|");
	char word[WORD_MAX];

	(void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(from, "|"), from);
	switch (k->type) {
	case CONFIG_LIST:
		return jval_new_array();
	case CONFIG_BOOL:
		return jval_new_bool(str_eq(word, "true"));
	case CONFIG_UINT:
		return jval_new_uint(strtoull(word, NULL, 10));
	default:
		return jval_new_str(word);
	}
}

static int show_reserved(struct jval *out, struct err *e)
{
	for (size_t i = 0; i < config_reserved_count; i++) {
		const struct config_reserved *k = &config_reserved[i];

		if (k->env && jval_set(out, k->env, neutral_value(k), e) < 0)
			return -1;
	}
	return 0;
}

/* ---- what follows from a key ---- */

/*
 * Whether QEMU filters no system calls with this seccomp_sandbox. Empty stands for the usual
 * filter. In the words of -sandbox the switch is `enable`: the last one
 * counts, a word without a key in the first place is its value, and without any it is off.
 */
static bool is_seccomp_off(const char *sandbox)
{
	static const char *const off[] = { "off", "no", "false", "n" };
	char value[WORD_MAX] = "off";
	const char *p = sandbox;

	if (!*sandbox)
		return false;
	for (;;) {
		size_t n = strcspn(p, ",");
		const char *v = NULL;

		if (strncmp(p, "enable=", strlen("enable=")) == 0)
			v = p + strlen("enable=");
		else if (p == sandbox && !memchr(p, '=', n))
			v = p;
		if (v)
			(void)snprintf(value, sizeof(value), "%.*s", (int)(p + n - v), v);
		if (!p[n])
			break;
		p += n + 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(off); i++)
		if (str_eq(value, off[i]))
			return true;
	return false;
}

int config_show(const struct kata_config *c, struct jval **out, struct err *e)
{
	OWN(jval) struct jval *shown = jval_new_object();
	bool off = is_seccomp_off(c->hypervisor.seccomp_sandbox);

	if (!shown)
		return err_oom(e, "a configuration to show");
	if (show_keys(c, shown, e) < 0 || show_reserved(shown, e) < 0 ||
	    jval_set_bool(shown, "Hypervisor.SecurityInfo.DisableSeccomp", off, e) < 0)
		return -1;
	*out = TAKE(shown);
	return 0;
}
