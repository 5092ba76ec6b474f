/* width.c - on how many servers reads should share; see width.h.  Pure. */
#include "proxy/pool/width.h"

#define HOLD_MIN 4 /* epochs, at least TRY_EPOCHS */
#define HOLD_MAX 64
#define TRY_EPOCHS 4
#define GAIN_UP 1.02   /* more servers must be worth it */
#define GAIN_DOWN 0.99 /* fewer need not be: the same work with less */

void width_init(struct width *w, int start)
{
    *w = (struct width){.now = start, .base = start, .hold = HOLD_MIN, .down = true};
}

static void enter(struct width *w, enum width_phase phase)
{
    w->phase = phase;
    w->epochs = 0;
    w->done = w->span_us = 0;
}

static double rate(const struct width *w)
{
    return w->span_us == 0 ? 0 : (double)w->done / (double)w->span_us;
}

/* A neighbour: far from one a third more or less, near one the next. */
static int neighbour(const struct width *w, int max)
{
    int step = MAX(w->base / 3, 1);
    return w->down ? MAX(w->base - step, 1) : MIN(w->base + step, max);
}

static void go_back(struct width *w)
{
    w->now = w->base;
    enter(w, WIDTH_HOLD);
}

static void begin_trial(struct width *w, int max)
{
    w->base_rate = rate(w);
    w->now = neighbour(w, max);
    if (w->now == w->base) { /* at the edge: the other way */
        w->down = !w->down;
        w->now = neighbour(w, max);
    }
    if (w->now == w->base)
        enter(w, WIDTH_HOLD);
    else
        enter(w, WIDTH_SETTLE);
}

static void end_trial(struct width *w)
{
    double wanted = w->base_rate * (w->now < w->base ? GAIN_DOWN : GAIN_UP);
    if (rate(w) >= wanted) {
        w->base = w->now;
        w->hold = HOLD_MIN;
    } else {
        w->down = !w->down;
        w->hold = MIN(w->hold * 2, HOLD_MAX);
    }
    go_back(w);
}

void width_epoch(struct width *w, uint64_t done, uint64_t span_us, bool loaded, int max)
{
    if (w->base > max) { /* a reload, or servers went elsewhere */
        w->base = max;
        go_back(w);
        return;
    }
    if (!loaded) {
        if (w->phase != WIDTH_HOLD)
            go_back(w);
        return;
    }
    if (w->phase == WIDTH_SETTLE) {
        enter(w, WIDTH_TRY);
        return;
    }
    w->epochs++;
    if (w->phase == WIDTH_HOLD && w->epochs <= w->hold - TRY_EPOCHS)
        return; /* what is compared lies next to the trial */
    w->done += done;
    w->span_us += span_us;
    if (w->phase == WIDTH_TRY && w->epochs >= TRY_EPOCHS)
        end_trial(w);
    else if (w->phase == WIDTH_HOLD && w->epochs >= w->hold)
        begin_trial(w, max);
}
