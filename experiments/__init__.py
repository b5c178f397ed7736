"""Commands: `python -m experiments.NAME`.

A training step allocates hundreds of megabytes, which glibc returns to the system after each
step and faults in again, page by page of 4 KiB, at the next (docs/performance.md). Pages of 2 MiB
end that. glibc reads the wish when a process starts, so a command starts itself again, once,
before it imports anything. Whoever sets GLIBC_TUNABLES decides for himself.
"""

import os
import sys

# Python sets argv[0] to "-m" while it looks for a command's module, and at no other time.
if sys.argv[:1] == ["-m"] and sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
