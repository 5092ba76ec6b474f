/* width.c - on how many servers reads should share; see width.h.  Pure. */
#include "proxy/pool/width.h"

#define MEASURED 4 /* epochs of each measurement */
#define HOLD_MIN MEASURED
#define HOLD_MAX 64
#define FILL_MAX 8       /* epochs that a wider trial waits for servers to be opened */
#define GAIN_TRIALS 12   /* trials that a gain remembers */
#define NOISE_TRIALS 16  /* the same for the noise */
#define NOISE_START 4e-4 /* two percent, squared: until it is known */
#define CERTAIN 4.0      /* a gain is certain when it is as many standard errors away, squared */
#define CHANGED 25.0     /* a trial so far from the mean says that the world has changed */
#define GAIN_MAX 0.3     /* more is taken for a hiccup */

static const int ladder[WIDTH_STEPS] = {1,  2,  3,   4,   6,   8,   11,  15,  20,  27,  36,   48,
                                        64, 85, 113, 151, 201, 268, 357, 476, 635, 847, 1129, 1505};

void width_init(struct width *w, int start)
{
    *w = (struct width){.hold = HOLD_MIN, .down = true, .noise = NOISE_START, .trials = 1};
    while (w->step + 1 < WIDTH_STEPS && ladder[w->step + 1] <= start)
        w->step++;
    w->now = w->base = ladder[w->step];
}

static void enter(struct width *w, enum width_phase phase)
{
    w->phase = phase;
    w->epochs = 0;
}

static void add(struct width_measure *to, struct width_measure m)
{
    to->done += m.done;
    to->span_us += m.span_us;
}

static double rate(struct width_measure m)
{
    return m.span_us == 0 ? 0 : (double)m.done / (double)m.span_us;
}

/* The highest step that makes a difference. */
static int top_step(int max)
{
    int i = 0;
    while (i + 1 < WIDTH_STEPS && ladder[i] < max)
        i++;
    return i;
}

static void hold(struct width *w)
{
    w->now = w->base;
    w->before = w->tried = w->after = (struct width_measure){0};
    enter(w, WIDTH_HOLD);
}

static void move_to(struct width *w, int step, int max)
{
    w->step = step;
    w->base = MIN(ladder[step], max);
    w->hold = HOLD_MIN;
}

static void begin_trial(struct width *w, int max)
{
    if (w->step == 0)
        w->down = false;
    else if (w->step >= top_step(max))
        w->down = true;
    int to = w->down ? w->step - 1 : w->step + 1;
    if (to < 0 || to > top_step(max)) { /* there is only one width */
        hold(w);
        return;
    }
    w->now = MIN(ladder[to], max);
    enter(w, WIDTH_SETTLE);
}

static double clipped(double x)
{
    return MAX(MIN(x, GAIN_MAX), -GAIN_MAX);
}

/* What the trial says of its step, and of the noise. */
static void learn(struct width *w, struct width_gain *g)
{
    double before = rate(w->before), after = rate(w->after), tried = rate(w->tried);
    double base = (before + after) / 2;
    if (base <= 0 || tried <= 0)
        return;
    /* A comparison with the mean of two has three quarters of the variance of their difference. */
    double apart = clipped((after - before) / base);
    w->trials = MIN(w->trials + 1, NOISE_TRIALS);
    w->noise += (0.75 * apart * apart - w->noise) / w->trials;
    double x = clipped(w->down ? base / tried - 1 : tried / base - 1);
    double off = x - g->mean;
    if (g->trials > 1 && off * off > CHANGED * MAX(w->noise, NOISE_START))
        g->trials = 0;
    g->trials = MIN(g->trials + 1, GAIN_TRIALS);
    g->mean += (x - g->mean) / g->trials;
}

/* More (or less) than a step must bring, and not by chance. */
static bool certainly(const struct width *w, const struct width_gain *g, bool more)
{
    double off = more ? g->mean - WIDTH_WORTH : WIDTH_WORTH - g->mean;
    return g->trials > 0 && off > 0 && off * off * g->trials > CERTAIN * w->noise;
}

static void end_trial(struct width *w, int max)
{
    struct width_gain *g = &w->gain[w->down ? w->step - 1 : w->step];
    learn(w, g);
    if (certainly(w, g, !w->down)) {
        move_to(w, w->down ? w->step - 1 : w->step + 1, max);
    } else {
        w->down = !w->down;
        w->hold = MIN(w->hold * 2, HOLD_MAX);
    }
    hold(w);
}

static void settled(struct width *w, int fed)
{
    if (fed >= w->now || w->now < w->base) {
        enter(w, WIDTH_TRY);
    } else if (w->epochs >= FILL_MAX) { /* there are no more servers to be had */
        w->down = true;
        hold(w);
    }
}

static void back(struct width *w)
{
    w->now = w->base;
    enter(w, WIDTH_SETTLE_BACK);
}

static void loaded_epoch(struct width *w, struct width_measure m, int fed, int max)
{
    w->epochs++;
    switch (w->phase) {
    case WIDTH_HOLD:
        if (w->epochs > w->hold - MEASURED) /* what is compared lies next to the trial */
            add(&w->before, m);
        if (w->epochs >= w->hold)
            begin_trial(w, max);
        break;
    case WIDTH_SETTLE:
        settled(w, fed);
        break;
    case WIDTH_TRY:
        add(&w->tried, m);
        if (w->epochs >= MEASURED)
            back(w);
        break;
    case WIDTH_SETTLE_BACK:
        enter(w, WIDTH_AFTER);
        break;
    case WIDTH_AFTER:
        add(&w->after, m);
        if (w->epochs >= MEASURED)
            end_trial(w, max);
        break;
    }
}

void width_epoch(struct width *w, struct width_measure m, bool loaded, int fed, int max)
{
    if (w->base > max) { /* a reload, or servers went elsewhere */
        move_to(w, top_step(max), max);
        hold(w);
    } else if (loaded) {
        loaded_epoch(w, m, fed, max);
    } else if (w->phase != WIDTH_HOLD) {
        hold(w);
    }
}
