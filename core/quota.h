/* How many processors the quota of a control group pays for.
 *
 *     /proc/self/cgroup            "0::/system.slice/app.service"
 *     /sys/fs/cgroup<group>/cpu.max  "150000 100000": so many microseconds of each period
 *
 * A quota holds for all groups below it, so the least one counts, from the group of this process up
 * to the root.  In a container the root that is seen is the container's.  Where the group itself is
 * not to be seen (its path is the host's), those above it that are do.
 *
 * Version 2 of control groups only; what cannot be read has no quota. */
#ifndef NQ_CORE_QUOTA_H
#define NQ_CORE_QUOTA_H

#define NQI_QUOTA_NONE (1 << 16) /* processors: more than there are */

/* Whole processors, rounded down, so possibly 0; NQI_QUOTA_NONE = no quota.
 * @param root  where /proc and /sys are: "", but in tests
 * Thread: any.  Blocks: reads a few small files of the kernel's. */
int nqi_quota_cpus(const char *root);

#endif
