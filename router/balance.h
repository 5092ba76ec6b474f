/* balance.h - which of several replicas gets a read.
 *
 * Own zone before others, slow ones only when no other is left.  Among what is left two are drawn
 * by weight and the one that is less busy is taken: requests in flight (by weight) times latency.
 * An idle cluster is used by weight, a busy one by speed, and a node that was slow once is asked
 * again.  Numbers of all workers are read without order: values of a moment ago are as good.
 * Pure but for the atomics it reads; any thread.
 */
#ifndef PENSTOCK_BALANCE_H
#define PENSTOCK_BALANCE_H

#include "base/base.h"
#include "router/topology.h"

/* The node among those whose bit is set in allowed, or TOPOLOGY_NONE when there is none. They must
 * be topology_readable. random: any number that differs from call to call, a counter will do. */
int balance_pick(const struct topology *t, uint64_t allowed, uint64_t random);

#endif
