/* SPDX-License-Identifier: Apache-2.0 */
/* Strings. */
#include "base/str.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/own.h"

bool str_eq(const char *a, const char *b)
{
	if (!a || !b)
		return a == b;
	return strcmp(a, b) == 0;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

__attribute__((format(printf, 1, 0))) static char *str_vprintf(const char *fmt, va_list ap)
{
	va_list again;
	char *s;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return NULL;
	s = malloc((size_t)n + 1);
	if (s)
		(void)vsnprintf(s, (size_t)n + 1, fmt, ap);
	return s;
}

bool str_has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p ? 1 : 0) {
		if (strncmp(p, line, len) == 0 && (p[len] == '\n' || p[len] == '\0'))
			return true;
	}
	return false;
}

char *str_printf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = str_vprintf(fmt, ap);
	va_end(ap);
	return s;
}

/* Reads digits up to the end or the first other character; false on none or overflow. */
static bool scan_digits(const char **s, uint64_t *out)
{
	uint64_t v = 0;
	const char *p = *s;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	}
	*s = p;
	*out = v;
	return true;
}

int str_to_u64(const char *s, uint64_t min, uint64_t max, const char *what, uint64_t *out,
	       struct err *e)
{
	const char *p = s;
	uint64_t v;

	if (!scan_digits(&p, &v) || *p || v < min || v > max)
		return err_set(e, ERR_INVALID, 0,
			       "%s '%.64s': must be a number from %" PRIu64 " to %" PRIu64,
			       what, s, min, max);
	*out = v;
	return 0;
}

int str_to_i64(const char *s, int64_t min, int64_t max, const char *what, int64_t *out,
	       struct err *e)
{
	bool negative = *s == '-';
	const char *p = negative ? s + 1 : s;
	uint64_t v;
	int64_t r;

	if (!scan_digits(&p, &v) || *p || v > (uint64_t)INT64_MAX + negative)
		goto bad;
	r = negative ? (int64_t)(0 - v) : (int64_t)v;
	if (r < min || r > max)
		goto bad;
	*out = r;
	return 0;
bad:
	return err_set(e, ERR_INVALID, 0,
		       "%s '%.64s': must be a number from %" PRId64 " to %" PRId64, what, s,
		       min, max);
}

/* ".5": millionths, further digits being dropped; 0 where there is no fraction. */
static bool scan_fraction(const char **p, uint64_t *out)
{
	uint64_t place = 100000;

	*out = 0;
	if (**p != '.')
		return true;
	for (++*p; **p >= '0' && **p <= '9'; ++*p) {
		*out += place * (uint64_t)(**p - '0');
		place /= 10;
	}
	return (*p)[-1] != '.';
}

int str_to_bytes(const char *s, const char *what, uint64_t *out, struct err *e)
{
	static const char units[] = "bkmgt";
	const char *p = s, *u;
	unsigned shift = 0;
	uint64_t v, millionths;

	if (!scan_digits(&p, &v) || !scan_fraction(&p, &millionths))
		goto bad;
	if (*p) {
		u = strchr(units, tolower((unsigned char)*p));
		if (!u || !*u)
			goto bad;
		shift = 10 * (unsigned)(u - units);
		p++;
		if (shift && (strcasecmp(p, "b") == 0 || strcasecmp(p, "i") == 0 ||
			      strcasecmp(p, "ib") == 0))
			p += strlen(p);
		if (*p)
			goto bad;
	}
	if (shift && v > (UINT64_MAX >> shift))
		goto bad;
	*out = (v << shift) + (millionths << shift) / 1000000;
	return 0;
bad:
	return err_set(e, ERR_INVALID, 0,
		       "%s '%.64s': must be a size such as 67108864, 512m or 2g", what, s);
}

char *str_quote(const char *s, size_t len, char *out, size_t size)
{
	size_t o = 0;

	BUG_ON(size == 0);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		bool plain = c >= 0x20 && c < 0x7f && c != '\\';

		if (o + (plain ? 1 : 4) >= size)
			break;
		if (plain)
			out[o++] = (char)c;
		else
			o += (size_t)snprintf(out + o, size - o, "\\x%02x", c);
	}
	out[o] = '\0';
	return out;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int str_unescape_uri(char *s, struct err *e)
{
	char *out = s;

	for (const char *p = s; *p; p++) {
		if (*p == '%') {
			int hi = hex_digit(p[1]), lo = hi < 0 ? -1 : hex_digit(p[2]);

			if (lo < 0 || (hi == 0 && lo == 0))
				return err_set(e, ERR_INVALID, 0, "'%.80s': bad %%-escape", p);
			*out++ = (char)(hi << 4 | lo);
			p += 2;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
	return 0;
}

void strv_fini(struct strv *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->v[i]);
	free(v->v);
	v->v = NULL;
	v->n = 0;
}

/* Takes ownership of `s` whatever the outcome. */
static int strv_push(struct strv *v, char *s, struct err *e)
{
	char **grown;

	if (!s)
		return err_oom(e, "a string list");
	grown = mem_resize(v->v, v->n + 2, sizeof(char *));
	if (!grown) {
		free(s);
		return err_oom(e, "a string list");
	}
	v->v = grown;
	v->v[v->n++] = s;
	v->v[v->n] = NULL;
	return 0;
}

int strv_add(struct strv *v, const char *s, struct err *e)
{
	return strv_push(v, strdup(s), e);
}

int strv_addf(struct strv *v, struct err *e, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = str_vprintf(fmt, ap);
	va_end(ap);
	return strv_push(v, s, e);
}

void str_base64(const void *p, size_t len, bool for_names, char *out, size_t size)
{
	static const char first[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	const uint8_t *in = p;
	char digits[64];
	size_t n = 0;

	memcpy(digits, first, sizeof(first) - 1);
	digits[62] = for_names ? '-' : '+';
	digits[63] = for_names ? '_' : '/';
	for (size_t i = 0; i < len && n + 4 < size; i += 3) {
		size_t left = len - i;
		uint32_t b = (uint32_t)in[i] << 16;

		b |= left > 1 ? (uint32_t)in[i + 1] << 8 : 0;
		b |= left > 2 ? (uint32_t)in[i + 2] : 0;
		out[n++] = digits[b >> 18];
		out[n++] = digits[b >> 12 & 63];
		out[n++] = left > 1 ? digits[b >> 6 & 63] : '=';
		out[n++] = left > 2 ? digits[b & 63] : '=';
	}
	out[n] = '\0';
}
