/* metrics_process.c - what the kernel says of this process; see metrics_process.h. */
#include "proxy/metrics/metrics_process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Since Linux 6.2 the folder's size says how many there are; before, it is 0. */
static int64_t count_fds(void)
{
    struct stat st;
    int64_t n = 0;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (int64_t)st.st_size;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own */
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* the folder itself */
}

static void read_memory(struct metrics_process *p)
{
    long long size = 0, resident = 0;
    long page = sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return;
    if (fscanf(f, "%lld %lld", &size, &resident) == 2) {
        p->virtual_bytes = (int64_t)size * page;
        p->resident_bytes = (int64_t)resident * page;
    }
    fclose(f);
}

void metrics_process_read(struct metrics_process *p)
{
    struct rlimit l;
    struct timespec t;
    memset(p, 0, sizeof(*p));
    read_memory(p);
    p->open_fds = count_fds();
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
        p->max_fds = (int64_t)l.rlim_cur;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0)
        p->cpu = (usec_t)t.tv_sec * USEC_PER_SEC + t.tv_nsec / 1000;
}
