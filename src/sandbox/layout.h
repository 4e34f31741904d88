/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths that a configuration has from elsewhere: Kata's guides and templates name the files of
 * Kata's usual layout below /opt/kata or /usr, and not every installation has all of them.
 */
#pragma once

struct err;
struct kata_config;
struct oci_notes;

/*
 * A path of [hypervisor.qemu] that is the usual one below /opt/kata, /usr or the prefix of
 * this installation, and where nothing is, becomes the one that this installation has; each is
 * noted with both names. Any other path stays, and so does one with nothing in its place: who
 * needs it says that it is missing. The usual image also gives way, to the installed initrd,
 * where the installed kernel cannot start from an image. Call it when the files and the
 * annotations are read.
 */
int layout_settle(struct kata_config *c, struct oci_notes *notes, struct err *e);
/* The same as seen by a program in `bindir`. */
int layout_settle_from(const char *bindir, struct kata_config *c, struct oci_notes *notes,
		       struct err *e);
