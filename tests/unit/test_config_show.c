/* SPDX-License-Identifier: Apache-2.0 */
/* What `kata-runtime env` shows of a configuration. */
#include "unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "config/config.h"
#include "config/schema.h"
#include "wire/json.h"

/* A value that is not the default, as TOML; most of it is JSON too. */
static const char *other_value(const struct config_key *k, char out[64])
{
	size_t last = 0;

	switch (k->type) {
	case CONFIG_BOOL:
		return str_eq(k->preset, "true") ? "false" : "true";
	case CONFIG_UINT:
		(void)snprintf(out, 64, "%" PRId64, k->max);
		return out;
	case CONFIG_REAL:
		(void)snprintf(out, 64, "%" PRId64 ".5", k->max - 1);
		return out;
	case CONFIG_LIST:
		return "[\"a\",\"b c\"]";
	case CONFIG_STRING:
		return "\"on \\\"that\\\"\"";
	default:
		while (k->choices[last + 1])
			last++;
		(void)snprintf(out, 64, "\"%s\"", k->choices[last]);
		return out;
	}
}

/* Takes the text of a configuration. */
static struct jval *shown(const char *text)
{
	OWN(config) struct kata_config *c = NULL;
	struct jval *v;
	struct err e;

	assert_ok(config_new(&c, &e), &e);
	assert_ok(config_parse(c, text, strlen(text), "f", &e), &e);
	assert_ok(config_show(c, &v, &e), &e);
	return v;
}

static void assert_shown(const struct jval *v, const char *name, const char *want)
{
	OWN(buf) struct buf text = BUF_INIT;
	struct err e;

	if (!jval_get(v, name))
		fail_msg("%s is not shown", name);
	assert_ok(jval_print(jval_get(v, name), false, &text, &e), &e);
	if (!str_eq(buf_cstr(&text), want))
		fail_msg("%s is %s instead of %s", name, buf_cstr(&text), want);
}

/* A row without a place, or two with one, is a key that nobody gets to see. */
static void test_every_key(void **state)
{
	OWN(buf) struct buf text = BUF_INIT;
	OWN(jval) struct jval *v = NULL;
	size_t count = 1; /* DisableSeccomp */
	char value[64];
	struct err e;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct config_key *k = &config_keys[i];

		if ((k->preset != NULL) != (k->env != NULL))
			fail_msg("[%s] %s: .env", k->section, k->key);
		if (!k->preset)
			continue;
		assert_string_not_equal(other_value(k, value), k->preset);
		assert_ok(buf_printf(&text, &e, "%s.%s = %s\n", k->section, k->key,
				     other_value(k, value)),
			  &e);
		count++;
	}
	v = shown(buf_cstr(&text));
	for (size_t i = 0; i < config_key_count; i++)
		if (config_keys[i].env)
			assert_shown(v, config_keys[i].env,
				     other_value(&config_keys[i], value));
	for (size_t i = 0; i < config_reserved_count; i++)
		count += config_reserved[i].env != NULL;
	assert_int_equal(jval_count(v), count);
}

/* What only other implementations can do has the value that it has here. */
static void test_reserved(void **state)
{
	static const char *const rows[][2] = {
		{ "Hypervisor.BlockDeviceDriver", "\"virtio-blk\"" },
		{ "Hypervisor.HotPlugVFIO", "\"no-port\"" },
		{ "Hypervisor.ColdPlugVFIO", "\"no-port\"" },
		{ "Hypervisor.PCIeSwitchPort", "0" },
		{ "Hypervisor.SecurityInfo.GuestHookPath", "\"\"" },
		{ "Hypervisor.SecurityInfo.ConfidentialGuest", "false" },
		{ "Runtime.GuestSeLinuxLabel", "\"\"" },
		{ "Runtime.Experimental", "[]" },
		{ "Runtime.Trace", "false" },
		{ "Runtime.DisableNewNetNs", "false" },
		{ "Agent.Trace", "false" },
	};
	OWN(jval) struct jval *v = NULL;
	size_t count = 0;

	v = shown("[hypervisor.qemu]\nblock_device_driver = 'virtio-scsi'\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_shown(v, rows[i][0], rows[i][1]);
	for (size_t i = 0; i < config_reserved_count; i++)
		count += config_reserved[i].env != NULL;
	assert_int_equal(count, ARRAY_LEN(rows));
}

/* As QEMU takes -sandbox: seen by the line Seccomp of its /proc/PID/status. */
static void test_seccomp(void **state)
{
	static const char *const rows[][2] = {
		{ "", "false" },
		{ "on", "false" },
		{ "on,obsolete=deny", "false" },
		{ "enable=yes", "false" },
		{ "off,enable=on", "false" },
		{ "off", "true" },
		{ "no", "true" },
		{ "off,obsolete=deny", "true" },
		{ "on,enable=off", "true" },
		{ "spawn=deny,enable=off", "true" },
		{ "spawn=deny", "true" },
	};
	OWN(jval) struct jval *preset = shown("");

	assert_shown(preset, "Hypervisor.SecurityInfo.DisableSeccomp", "false");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		OWN(jval) struct jval *v = NULL;
		char text[128];

		(void)snprintf(text, sizeof(text),
			       "[hypervisor.qemu]\nseccomp_sandbox = '%s'\n", rows[i][0]);
		v = shown(text);
		print_message("# '%s'\n", rows[i][0]);
		assert_shown(v, "Hypervisor.SecurityInfo.DisableSeccomp", rows[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_seccomp),
	};

	return cmocka_run_group_tests_name("config_show", tests, NULL, NULL);
}
