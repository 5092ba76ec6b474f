/* cluster_watch.h - asks the nodes of all clusters what they are, and publishes what follows.
 *
 * One worker does it (CLUSTER_WATCHER), over one control connection per node: a pool of one server
 * with the probe's login, on which the question of the codec (probe_query) runs as a job.  Each
 * node is asked every check_interval; the primary also soon after writes, at most once a
 * millisecond, and after its answer the replicas until they have replayed what it said.  The
 * machine that makes roles and states of the answers is router/health.h; each change of it is a new
 * snapshot for the workers (cluster_publish).
 * A host name with several addresses is several nodes; it is looked up again as its time runs out.
 * Penstock only looks: it promotes nothing.
 * Thread: the watching worker's.
 */
#ifndef PENSTOCK_PROXY_CLUSTER_WATCH_H
#define PENSTOCK_PROXY_CLUSTER_WATCH_H

struct worker;

/* At the start and on reload: begins, changes and ends watching as the configuration says. Does
 * nothing on other workers. */
void cluster_watch_configure(struct worker *w);
/* No more is asked or published; before the worker closes its pools. */
void cluster_watch_stop(struct worker *w);
/* After the pools have gone. */
void cluster_watch_free(struct worker *w);

#endif
