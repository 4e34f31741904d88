/* SPDX-License-Identifier: Apache-2.0 */
/* The specification of `kata run`: what options and image become, and that it is valid. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/str.h"
#include "cli/spec_build.h"
#include "image/store.h"
#include "oci/spec.h"

struct fixture {
	struct arena arena;
	struct image image;
	struct strv env, volumes;
	struct spec_request r;
	const char *image_env[2], *entry[2], *cmd[2];
};

static int set_up(void **state)
{
	struct fixture *f = mem_new(struct fixture);

	arena_init(&f->arena, 16 << 20);
	f->image_env[0] = "PATH=/image/bin";
	f->image_env[1] = "KEEP=image";
	f->cmd[0] = "sh";
	f->image.config.env = (struct string_list){ f->image_env, 2 };
	f->image.config.entrypoint = (struct string_list){ f->entry, 0 };
	f->image.config.cmd = (struct string_list){ f->cmd, 1 };
	f->image.config.working_dir = "";
	f->image.config.user = "";
	f->r = (struct spec_request){ .image = &f->image,
				      .id = "0123456789ab",
				      .hostname = "box",
				      .env = &f->env,
				      .volumes = &f->volumes,
				      .dir = "/var/x" };
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	strv_fini(&f->env);
	strv_fini(&f->volumes);
	arena_fini(&f->arena);
	free(f);
	return 0;
}

static Grpc__Spec *build(struct fixture *f, char *const *command)
{
	OWN(buf) struct buf json = BUF_INIT;
	Grpc__Spec *s, *again;
	struct err e;

	f->r.command = command;
	assert_ok(spec_build(&f->r, &f->arena, &s, &e), &e);
	assert_ok(spec_validate(s, &e), &e);
	/* what is written must be read back: the engine gets it as config.json */
	assert_ok(spec_print(s, &json, &e), &e);
	assert_ok(spec_parse((const char *)buf_head(&json), buf_len(&json), &f->arena, &again,
			     &e),
		  &e);
	return again;
}

static const char *env_of(const Grpc__Spec *s, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < s->process->n_env; i++) {
		if (strncmp(s->process->env[i], name, n) == 0 && s->process->env[i][n] == '=')
			return s->process->env[i] + n + 1;
	}
	return NULL;
}

static void test_image_defaults(void **state)
{
	struct fixture *f = *state;
	char *const none[] = { NULL };
	Grpc__Spec *s = build(f, none);

	assert_int_equal(s->process->n_args, 1);
	assert_string_equal(s->process->args[0], "sh");
	assert_string_equal(s->process->cwd, "/");
	assert_string_equal(env_of(s, "PATH"), "/image/bin");
	assert_string_equal(env_of(s, "HOSTNAME"), "box");
	assert_null(env_of(s, "TERM"));
	assert_int_equal(s->process->capabilities->n_effective, 14);
	assert_int_equal(s->linux->n_namespaces, 6);
}

/* As docker takes them: a script's variable that is not set asks for nothing. */
static void test_empty_options(void **state)
{
	struct fixture *f = *state;
	char *const none[] = { NULL };
	Grpc__Spec *s;

	f->image.config.user = "7";
	f->image.config.working_dir = "/home";
	f->r.user = f->r.workdir = "";
	s = build(f, none);
	assert_int_equal(s->process->user->uid, 7);
	assert_string_equal(s->process->cwd, "/home");
}

static void test_options_win(void **state)
{
	struct fixture *f = *state;
	char word[] = "id", *const command[] = { word, NULL };
	struct err e;
	Grpc__Spec *s;

	assert_ok(strv_add(&f->env, "KEEP=mine", &e), &e);
	assert_ok(strv_add(&f->env, "NOT_SET_ANYWHERE_HERE", &e), &e);
	/* as docker does: what is not set here is taken out of the image's */
	f->image_env[1] = "NOT_SET_ANYWHERE_HERE=1";
	/* ours is for who asks by -e, not for what an image says */
	f->image_env[0] = "SECRET_OF_OURS";
	assert_int_equal(setenv("SECRET_OF_OURS", "x", 1), 0);
	assert_int_equal(setenv("GIVEN", "yes", 1), 0);
	assert_ok(strv_add(&f->env, "GIVEN", &e), &e);
	assert_ok(strv_add(&f->volumes, "/:/host:ro", &e), &e);
	f->r.terminal = true;
	f->r.user = "7:8";
	f->r.workdir = "/tmp";
	f->r.memory_bytes = 64 << 20;
	f->r.cpu_millis = 1500;
	f->entry[0] = "env";
	f->image.config.entrypoint.n = 1;
	s = build(f, command);
	assert_int_equal(s->process->n_args, 2);
	assert_string_equal(s->process->args[0], "env");
	assert_string_equal(s->process->args[1], "id");
	assert_string_equal(env_of(s, "KEEP"), "mine");
	assert_string_equal(env_of(s, "TERM"), "xterm");
	assert_null(env_of(s, "NOT_SET_ANYWHERE_HERE"));
	assert_null(env_of(s, "SECRET_OF_OURS"));
	assert_string_equal(env_of(s, "GIVEN"), "yes");
	assert_int_equal(s->process->user->uid, 7);
	assert_int_equal(s->process->user->gid, 8);
	assert_int_equal(s->process->capabilities->n_effective, 0);
	assert_int_equal(s->linux->resources->memory->limit, 64 << 20);
	assert_int_equal(s->linux->resources->cpu->quota, 150000);
	assert_string_equal(s->mounts[s->n_mounts - 1]->destination, "/host");
}

/* What lies within another volume is mounted after it; else the order is the caller's. */
static void test_nested_volumes(void **state)
{
	static const char *const given[] = { "/:/x/y/z", "/:/b", "/:/x/y", "/:/a", "/:/x" };
	static const char *const want[] = { "/b", "/a", "/x", "/x/y", "/x/y/z" };
	struct fixture *f = *state;
	char *const none[] = { NULL };
	struct err e;
	Grpc__Spec *s;

	for (size_t i = 0; i < ARRAY_LEN(given); i++)
		assert_ok(strv_add(&f->volumes, given[i], &e), &e);
	s = build(f, none);
	for (size_t i = 0; i < ARRAY_LEN(want); i++)
		assert_string_equal(s->mounts[s->n_mounts - ARRAY_LEN(want) + i]->destination,
				    want[i]);
}

static void test_refusals(void **state)
{
	static const char *const volumes[] = { "x",          "rel:/x",           "/x:rel",
					       "/:/x:maybe", "/no/such/file:/x", "/:/",
					       "/:/.//" };
	struct fixture *f = *state;
	char *const none[] = { NULL };
	Grpc__Spec *s;
	struct err e;

	f->r.command = none;
	for (size_t i = 0; i < ARRAY_LEN(volumes); i++) {
		assert_ok(strv_add(&f->volumes, volumes[i], &e), &e);
		assert_int_equal(spec_build(&f->r, &f->arena, &s, &e), -1);
		strv_fini(&f->volumes);
	}
	f->r.workdir = "relative";
	assert_err(spec_build(&f->r, &f->arena, &s, &e), &e, ERR_INVALID);
	f->r.workdir = NULL;
	f->image.config.cmd.n = 0;
	assert_err(spec_build(&f->r, &f->arena, &s, &e), &e, ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_image_defaults, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_empty_options, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_options_win, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nested_volumes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
