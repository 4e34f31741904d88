# SPDX-License-Identifier: Apache-2.0
"""What the scripts that prepare the guest share. Nothing here runs in the guest."""
