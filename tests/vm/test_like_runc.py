# SPDX-License-Identifier: Apache-2.0
"""What a container finds around itself is what runc gives it from the same specification.

A script in the container prints it line by line; containerd makes the specification for both.
The differences that there are have a row, with the reason.
"""
import difflib
import os
import re
import shutil
import unittest

from containerd_case import IMAGE, RUNTIME, ContainerdCase

LAB = "full"
RUNC = "io.containerd.runc.v2"

PROBE = r"""
echo "id $(id)"; echo "umask $(umask)"; echo "pwd $(pwd)"; echo "tty $(tty)"
env | sort | sed 's/^/env /'
grep -E "^(Cap|NoNewPrivs|Seccomp:|Groups|SigBlk)" /proc/1/status | tr '\t' ' '
awk '{print "mount", $5, $6}' /proc/self/mountinfo | sort
awk '{for(i=7;i<=NF;i++) if($i=="-") print "type of", $5, $(i+1)}' /proc/self/mountinfo | sort
for d in /dev/*; do stat -c 'node %n %F %a %u:%g %t:%T' $d; done
for l in /dev/*; do [ -L $l ] && echo "link $l $(readlink $l)"; done
sed 's/  */ /g; s/^/limit /' /proc/self/limits
for p in /proc/kcore /proc/keys /proc/timer_list /proc/scsi; do
	if [ -d $p ]; then echo "masked $p: $(ls $p | wc -l)"
	elif [ -e $p ]; then echo "masked $p: $(stat -c %F $p)"; fi
done
for p in /proc/bus /proc/fs /proc/irq /proc/sys; do
	touch $p/x 2>/dev/null && echo "$p: written" || echo "$p: not written"
done
{ echo 0 > /proc/sys/kernel/shm_rmid_forced; } 2>/dev/null && echo "sysctl written"
mknod /tmp-null c 1 3 2>/dev/null && echo "mknod works" && echo x > /tmp-null && echo "node works"
mknod /tmp-mem c 1 1 2>/dev/null && { cat /tmp-mem >/dev/null 2>&1 || echo "no access to mem"; }
chroot / true 2>/dev/null && echo "chroot works"
mount -t tmpfs none /mnt 2>/dev/null && echo "mount works"
unshare -U true 2>/dev/null && echo "user namespaces work"
echo "parent $(awk '/^PPid/{print $2}' /proc/1/status) session $(awk '{print $6, $5}' /proc/1/stat)"
(sleep 0.3; echo "descriptors $(ls /proc/1/fd | tr '\n' ' ')") # of a shell that waits
ls -ld / /proc /sys /dev /dev/shm /dev/pts /dev/mqueue /mnt /etc 2>/dev/null | awk '{print "mode", $1, $3, $4, $NF}'
echo "links $(ls /sys/class/net | tr '\n' ' ')"
"""

# What is another on purpose, or of the machine and not of the runtime.
EXPECTED = (
    (r"type of / ", "the root file system comes by a share"),
    (r"limit Max (processes|pending signals)", "the kernel's defaults go by its memory"),
    (r"(type of|mount|masked) /proc/(kcore|keys|timer_list|scsi|sysrq-trigger)",
     "covered in both where the kernel has it; the guest's is another"),
    (r"mount /(proc/acpi|sys/firmware) ro", "an empty directory over it has stricter options here"),
    (r"(node|link) /dev/core ", "a link where the kernel has /proc/kcore"),
    (r"(node|link) /dev/ptmx", "privileged: of the device file system or of pts, the same device"),
    (r"node /dev/(?!null|zero|full|tty|u?random|ptmx|pts|shm|fd|std|mqueue|console|core)",
     "privileged: devices of the machine, which is another"),
)


class LikeRunc(ContainerdCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("runc"):
            raise unittest.SkipTest("not on the PATH: runc")
        super().setUpClass()

    def seen(self, runtime, options):
        done = self.ctr("run", "--rm", "--runtime", runtime, *options, IMAGE, "same", "sh", "-c",
                        PROBE)
        self.assertEqual(done.returncode, 0, f"{runtime}: {done.stderr}")
        return done.stdout.splitlines()

    def compare(self, *options, more=(), kata_options=()):
        theirs = self.seen(RUNC, options)
        ours = self.seen(RUNTIME, (*options, *kata_options))
        self.assertGreater(len(ours), 60)
        if "--privileged" not in options:
            self.assertFalse([line for line in ours if re.match("masked .*: (regular file|[1-9])", line)])
        expected = re.compile("|".join(f"(?:{row})" for row in (*(e[0] for e in EXPECTED), *more)))
        diff = [line for line in difflib.unified_diff(theirs, ours, "runc", "kata", n=0, lineterm="")
                if line[0] in "+-" and not line.startswith(("+++", "---"))
                and not expected.match(line[1:])]
        self.assertEqual(diff, [])

    def test_as_it_comes(self):
        self.compare()

    def test_link_to_the_kernels_memory(self):
        """As the specification has it: where there is something to link to."""
        out = self.run_ok("core", "sh", "-c", "[ -e /proc/kcore ]; echo $?; readlink /dev/core; true")
        self.assertIn(out, ("0\n/proc/kcore\n", "1\n"))

    def test_privileged(self):
        self.compare("--privileged")

    def test_read_only_and_capabilities(self):
        self.compare("--read-only", "--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_ADMIN")

    def test_tmpfs_env_and_directory(self):
        self.compare("--mount", "type=tmpfs,dst=/mnt,options=size=1m:mode=700:nosuid",
                     "--mount", "type=tmpfs,dst=/etc,options=size=1m:nosuid",
                     "--env", "A=b c", "--cwd", "/mnt")

    def test_new_privileges(self):
        self.compare("--allow-new-privs")

    def test_seccomp(self):
        """With the profile applied as the caller has it, where the configuration says so."""
        path = os.path.join(self.root, "seccomp.toml")
        with open(path, "w", encoding="ascii") as f:
            f.write("[runtime]\ndisable_guest_seccomp = false\n")
        self.compare("--seccomp", kata_options=("--runtime-config-path", path))


if __name__ == "__main__":
    unittest.main(verbosity=2)
