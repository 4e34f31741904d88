# SPDX-License-Identifier: Apache-2.0
"""Pods through the CRI plug-in of Debian's containerd, as a kubelet makes them."""
import os
import platform
import unittest

from cri_case import CriCase

TIMEOUT_S = 900


class Pod(CriCase):
    def test_two_containers_in_one_machine(self):
        pod = self.run_pod("two")
        first, second = self.start(pod, "first"), self.start(pod, "second")
        releases = [self.output(c, "uname", "-r") for c in (first, second)]
        self.assertEqual(releases[0], releases[1])
        self.assertNotEqual(releases[0].strip(), platform.release())
        boots = [self.output(c, "cat", "/proc/sys/kernel/random/boot_id") for c in (first, second)]
        self.assertEqual(boots[0], boots[1])
        self.remove_pod(pod)


if __name__ == "__main__":
    unittest.main(verbosity=2)
