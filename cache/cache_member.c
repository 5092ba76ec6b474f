/* cache_member.c - see cache_member.h.
 *
 * The estimate of Redis' clock is its answer plus the time since that arrived, so it is never ahead
 * of the real one.  A renewal names the instant estimate + period; Redis' clock has passed that at
 * the latest when our clock has gone on by the period since the renewal was sent, for it runs as
 * fast as ours (an eighth is added for clocks that do not, and for Redis' own milliseconds).
 */
#include "cache/cache_member.h"

#include "base/check.h"

#define MS 1000
#define RENEWALS 4 /* in a period */

static void set_state(struct cache_member *m, enum cache_member_state to)
{
    static const uint8_t legal[] = {
        [CACHE_MEMBER_STRANGER] = 1u << CACHE_MEMBER_OUT | 1u << CACHE_MEMBER_STRANGER,
        [CACHE_MEMBER_OUT] = 1u << CACHE_MEMBER_IN | 1u << CACHE_MEMBER_OUT |
                             1u << CACHE_MEMBER_STRANGER,
        [CACHE_MEMBER_IN] = 1u << CACHE_MEMBER_IN | 1u << CACHE_MEMBER_OUT |
                            1u << CACHE_MEMBER_STRANGER,
    };
    CHECK((legal[m->state] >> to & 1) != 0);
    m->state = to;
}

void cache_member_init(struct cache_member *m, usec_t period, uint64_t incarnation,
                       uint32_t expected)
{
    /* Nobody knows what the process before us left unrecorded: the first renewal is dirty. */
    *m = (struct cache_member){.state = CACHE_MEMBER_STRANGER,
                               .period = MAX(period, 10 * MS),
                               .incarnation = incarnation,
                               .dirt = 1};
    m->view.expected = expected;
}

void cache_member_connected(struct cache_member *m, uint64_t server)
{
    m->asking = false;
    m->due = 0;
    if (m->view.server != 0 && m->view.server != server)
        m->moved = m->until;
    m->next = server;
    m->view.server = m->moved > 0 ? 0 : server;
    m->view.members = 0;
    set_state(m, CACHE_MEMBER_STRANGER);
}

bool cache_member_step(struct cache_member *m, usec_t now, uint64_t fresh, struct cache_cmd *out)
{
    if (m->asking || m->holders > 0 || now < m->due || now < m->lapse)
        return false;
    m->asking = true;
    m->before = m->until;
    m->due = now + m->period / RENEWALS;
    if (m->state == CACHE_MEMBER_STRANGER) {
        *out = (struct cache_cmd){.kind = CACHE_CMD_TIME};
        return true;
    }
    m->sent_dirt = m->dirt;
    uint64_t clock_ms = m->clock_ms + (uint64_t)((now - m->told) / MS);
    *out = (struct cache_cmd){.kind = CACHE_CMD_RENEW,
                              .nonce = m->incarnation,
                              .fresh = fresh,
                              .flag = m->dirt != m->clean,
                              .ms = clock_ms + (uint64_t)(m->period / MS)};
    m->until = MAX(m->until, now + m->period + m->period / 8 + 2 * MS);
    return true;
}

/* 0: somebody goes by other rules. */
static uint32_t count(const struct cache_member *m, struct str names)
{
    size_t n = strlen(m->rules);
    uint32_t members = 0;
    while (names.n > 0) {
        struct str name = str_cut(&names, ',');
        if (n > 0 && (name.n <= n || name.p[name.n - n - 1] != '/' ||
                      memcmp(name.p + name.n - n, m->rules, n) != 0))
            return 0;
        members++;
    }
    return members;
}

void cache_member_answer(struct cache_member *m, const struct cache_answer *a, usec_t now)
{
    m->asking = false;
    if (a->state == CACHE_ANSWER_REFUSED)
        m->until = m->before; /* what was sent earlier may still be on its way */
    if (a->state != CACHE_ANSWER_OK || a->ms == 0) {
        m->view.members = 0;
        m->due = now + m->period / RENEWALS;
        if (m->state == CACHE_MEMBER_IN)
            set_state(m, CACHE_MEMBER_OUT);
        return;
    }
    if (now >= m->moved) {
        m->moved = 0;
        m->view.server = m->next;
    }
    bool told_time = m->state == CACHE_MEMBER_STRANGER;
    m->clock_ms = a->ms;
    m->told = now;
    if (told_time) {
        m->due = now;
        set_state(m, CACHE_MEMBER_OUT);
        return;
    }
    m->clean = m->sent_dirt;
    m->joined = true;
    m->view.names = a->b;
    m->view.members = m->clean >= m->need ? count(m, a->value) : 0;
    set_state(m, CACHE_MEMBER_IN);
}

void cache_member_rules(struct cache_member *m, struct str name)
{
    CHECK(name.n <= CACHE_MEMBER_RULES);
    (void)str_copy(m->rules, sizeof(m->rules), name);
    cache_member_void(m);
}

void cache_member_moved(struct cache_member *m)
{
    m->joined = false;
}

void cache_member_void(struct cache_member *m)
{
    m->need = ++m->dirt;
    m->view.members = 0;
}

usec_t cache_member_lapse(struct cache_member *m, usec_t now)
{
    m->dirt++;
    m->holders++;
    if (!m->joined)
        return CACHE_MEMBER_NEVER;
    m->lapse = MAX(m->lapse, m->until);
    return MAX(m->until, now);
}

usec_t cache_member_forgotten(const struct cache_member *m)
{
    return m->until;
}

void cache_member_resume(struct cache_member *m)
{
    CHECK(m->holders > 0);
    m->holders--;
    m->dirt++;
}

void cache_member_dirty(struct cache_member *m)
{
    m->dirt++;
}
