/* eval_needle.c - needles in a haystack: a fact at a depth of a text of a length, the question for it, and the text, from a seed. */
#include "lab/eval_data.h"

#include "base/random.h"
#include "cli/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- The grammar of the haystack ---------------------------------------------------------------------------------------------------- */

/* A paragraph is about a person (whole name {P}, surname {S}, {he}, {He}, {his}) in a town {T} at a time {M}: it opens with one of a
 * topic's first two sentences and goes on with others of them. Names in lower case are drawn anew each time. No digit and no word of a
 * needle stands here, so that a haystack never answers a question. */
enum { OPENERS = 2, SENTENCES = 10 };
static const char *const topics[][SENTENCES] = {
    {"By {M} the harbour of {T} was busy again, and {P} counted {few} boats along the quay.",
     "In {M} {P} took over the harbour office in {T} from a {quality} man who had kept it for {years} years.",
     "The ferry came in {late}, and its passengers stood about on the quay {doing}.",
     "{He} wrote down the {quality} weather every morning, because {his} predecessor had done so for {years} years.",
     "A {quality} cargo of {goods} lay under canvas beside the crane until somebody signed for it.",
     "The pilots argued about the sandbank, which had moved {few} paces since the last {storm}.",
     "When the {storm} was over, {few} nets hung torn from the railings, and nobody spoke of it.",
     "{S} thought that the new lamps were too bright, though the fishermen liked them well enough.",
     "Gulls followed the boats as far as the {building} and then turned back over the water.",
     "Toward evening the tide uncovered the old steps, on which children from {T} looked for {goods}."},
    {"{P} had looked after the lending library of {T} since {M}, and knew most of its readers by their coughs.",
     "The library in {T} opened its second room in {M}, after {P} had asked the council for it {few} times.",
     "Books about {subject} were borrowed most, and came back with {goods} between the pages.",
     "{He} kept the {quality} atlas behind the desk, where {few} people a year asked to see it.",
     "On wet afternoons the reading room filled with pupils who were {doing} rather than reading.",
     "A retired {trade} came every {weekday} and read the same {quality} novel from the beginning.",
     "The catalogue, begun {years} years earlier, had reached the letter that most people lose patience at.",
     "{S} believed that a book which nobody opened for {years} years was merely waiting.",
     "Somebody had given the library a box of pamphlets on {subject}, and nobody dared to throw them away.",
     "Before closing {he} walked along the shelves with a lamp and pushed the {quality} volumes back into line."},
    {"The orchards above {T} bloomed {late} that year, and {P} did not like it.",
     "In {M} {P} planted {few} young trees on the slope behind the {building} in {T}.",
     "{He} pruned them {carefully}, as {his} aunt had taught {him} when the wall was still standing.",
     "Wasps found the {quality} pears first, and after them the boys from the {building}.",
     "A {trade} from {T2} came to look at the soil and left with a basket of {goods}.",
     "The cider was {quality}, but there was less of it than in any of the {years} years before.",
     "When the {storm} had passed, branches lay across the path as far as the gate.",
     "{S} sold most of the harvest at the market in {T2} and gave the rest to the neighbours.",
     "Between the rows stood hives, {few} in all, painted in colours that {he} said the bees could tell apart.",
     "Grafting was slow work, and {he} talked about {subject} to whoever held the ladder."},
    {"The line from {T} to {T2} was closed for repairs in {M}, which {P} had foreseen.",
     "{P} became stationmaster at {T} in {M}, when {few} trains a day still stopped there.",
     "Passengers waited in the {building}, {doing} and looking at the clock.",
     "The signal box smelled of oil and {goods}, and its windows shook whenever an express went by.",
     "{He} announced every delay {carefully}, like the news of a {quality} relative.",
     "A {trade} who travelled each {weekday} had his own seat, and no one else sat in it.",
     "The bridge over the river was inspected after the {storm} and found to be {quality}, which pleased nobody.",
     "{S} kept a list of things left behind, among them {few} umbrellas and a crate of {goods}.",
     "Freight came by night now, mostly {goods}, and the people near the {building} had learned to sleep through it.",
     "In winter the points froze, and {few} men walked the track with lanterns and hot sand."},
    {"The school in {T} had {few} new pupils in {M}, and {P} learned their names in a day.",
     "{P} taught {subject} at the school in {T}, though {he} had been hired in {M} to teach singing.",
     "The stove smoked, so that lessons were held in the {building} until the wind turned.",
     "On {weekday} the older children walked to {T2} and drew the {building} there.",
     "{He} read aloud for the last half hour, {carefully}, while the room grew dark.",
     "An inspector came, asked about {subject}, and wrote a {quality} report that nobody saw again.",
     "Mothers sent {goods} on market days, which were shared out before anyone could count them.",
     "{S} held that a {quality} question was worth more than an answer learned by heart.",
     "The map on the wall was {years} years old and showed a road that was never built.",
     "At the end of term the benches were carried to the {building} and scrubbed by everyone together."},
    {"Every {weekday} from {M} on, the market of {T} filled the square before {P} had opened the shutters.",
     "{P} sold {goods} at the market in {T}, and had done so since a {quality} day in {M}.",
     "Farmers from {T2} came with carts and stood {doing} until the bell rang.",
     "The price of {goods} rose {late} in the morning, and the cooks complained about it.",
     "{He} weighed {goods} twice, once for the customer and once for {his} own peace of mind.",
     "A {trade} set up a table between the stalls and mended whatever people brought.",
     "Rain drove the buyers under the arches, where they talked about {subject}.",
     "{S} remembered a summer, {years} years before, when there was nothing to sell but {goods}.",
     "By noon the {quality} cheeses were gone, and only the dealers in {goods} stayed on.",
     "When the square was swept, dogs from the {building} came to see what had been left."},
    {"The river at {T} rose in {M}, not far, but far enough for {P} to move the boat.",
     "{P} measured the river at {T} every day from {M} on, with a staff that {he} had painted {himself}.",
     "Above the weir the water was {quality} and slow, and herons stood in it as if they were paid to.",
     "The millers of {T2} wanted more of it and the farmers less, so they met each {weekday} to disagree.",
     "After the {storm} it carried planks, a {quality} gate, and {few} barrels of {goods} past the town.",
     "{He} noted the colour of the water as well, which a {trade} from {T2} found amusing.",
     "Willows were planted along the bank {years} years ago, and their roots now held the road.",
     "{S} knew where the eels lay and told nobody, not even the {trade} who asked every spring.",
     "The old bridge had {few} arches, of which the middle one was never quite straight.",
     "In dry years one could walk across below the {building} and keep one's boots clean."},
    {"The players of {T} put on a new comedy in {M}, with {P} in the part of the doctor.",
     "In {M} the theatre of {T} was painted, and {P} had to rehearse in the {building}.",
     "The scenery had served for {years} years as a forest, a palace and a {quality} inn.",
     "{He} forgot the same line every evening and said something about {subject} in its place.",
     "The audience came from as far as {T2} and laughed {late}, but they laughed.",
     "A {trade} lent the costumes, on condition that nobody ate {goods} in them.",
     "Between the acts the orchestra, {few} strong, played whatever the weather allowed.",
     "{S} said that a {quality} house on a {weekday} was worth two on any other night.",
     "The prompter, a {trade} by day, sat in a box so small that {he} would never try it.",
     "Afterwards everybody stood in the street, {doing} and praising the lamps."},
    {"{P} repaired clocks in {T}, and in {M} had {few} of them on the bench at once.",
     "The workshop of {P} moved to the upper end of {T} in {M}, next to the {building}.",
     "Most clocks stopped for want of oil, {he} said, and the rest because some {trade} had been curious.",
     "A {quality} one from {T2} had been under water and ran backwards for a while.",
     "Springs were kept in tins that had once held {goods}, sorted by a rule that only {S} knew.",
     "The apprentice, who wanted to be a {trade}, polished brass and asked about {subject}.",
     "On {weekday} {he} climbed the tower and set the town right by {few} minutes.",
     "Customers liked to stay, {doing} among the pendulums until they noticed the time.",
     "{He} worked {carefully} and without a lamp as long as the daylight held.",
     "A watch that had been in the family for {years} years was brought in wrapped in a {quality} cloth."},
    {"The council of {T} met in {M} to talk about the {building}, and {P} took the minutes.",
     "{P} sat on the council of {T} for {years} years, and in {M} spoke for the first time.",
     "The question was whether to mend the roof or to wait for the next {storm}.",
     "A {trade} spoke at length on {subject}, until the chairman closed the window.",
     "{He} proposed that {T2} should pay half, which was received with {quality} silence.",
     "Nobody objected to the fountain, though {few} people had been heard {doing} beside it at night.",
     "The vote was put off to the following {weekday}, when there would be more chairs.",
     "{S} wrote everything down {carefully}, leaving room at the margin for second thoughts.",
     "A petition about the dogs was read out {carefully}, and so was another in favour of them.",
     "Refreshments were modest: bread, {goods} and a {quality} wine that someone's cousin had made."},
    {"{P} walked from {T} to {T2} in {M}, in order to draw the hills as they really were.",
     "The survey of the hills between {T} and {T2} began in {M}, and {P} carried the chain.",
     "The path went up behind the {building} and was {quality} as far as the spring.",
     "Shepherds watched the party {doing} and offered them {goods} and advice.",
     "From the ridge {he} could see {T2} on clear days, and on others the inside of a cloud.",
     "Each height was measured twice, {carefully}, and the two results were seldom friends.",
     "A {storm} kept them for {few} days in a hut where a {trade} had left a book on {subject}.",
     "{S} named the lesser summits after {his} cousins, of whom there were enough.",
     "The boundary stones, {years} years old, had sunk so far that the goats stepped over them.",
     "On the last {weekday} they shared out the bread and came down by the {quality} side of the valley."},
    {"The choir of {T} lost its {quality} tenor in {M}, and {P} went from door to door to find another.",
     "{P} had led the choir of {T} for {years} years when the organ was taken apart in {M}.",
     "They practised on {weekday} in the {building}, in coats, beneath a picture of a {trade}.",
     "The altos were {quality}, the basses came {late}, and the sopranos had never been doubted.",
     "{He} beat time with a pencil and stopped it whenever somebody thought of {subject}.",
     "A visitor from {T2} sat at the back, {doing}, and left before the final chord.",
     "The hymn had {few} verses, of which the third was always sung {carefully}.",
     "{S} copied the parts by hand, on the backs of bills for {goods}.",
     "After the {storm} they sang by candlelight, and agreed that it had sounded better.",
     "On the way home they went on humming, past the {building} and on, until the streets divided."},
};

typedef struct word_list {
    const char *name;
    const char *word[16]; /* ends at the first NULL */
} word_list;

static const word_list lists[] = {
    {"T",
     {"Aldmere", "Brackenford", "Corvale", "Dunmarsh", "Eastholm", "Fallow Bay", "Grenwick", "Harrowgate Quay", "Ilsingham", "Kelder",
      "Lower Wend", "Marrowby", "Northam Cross", "Ostrey", "Pellan"}},
    {"T2",
     {"Quarry Hill", "Ravensby", "Saint Orrin", "Tarrant", "Upper Wend", "Vale End", "Westerlea", "Yarrow Bridge", "Abbot's Reach",
      "Birchover", "Calder Mouth", "Dray", "Elverton", "Foxley"}},
    {"M",
     {"January", "February", "early March", "April", "May", "the middle of June", "July", "late August", "September", "October", "November",
      "December", "the week before Easter", "the first cold days of autumn"}},
    {"few",
     {"three", "four", "five", "six", "seven", "eight", "nine", "ten", "a dozen", "some twenty", "nearly thirty", "no more than two"}},
    {"years",
     {"eleven", "fourteen", "sixteen", "nineteen", "twenty-two", "twenty-seven", "thirty", "thirty-four", "forty", "nearly fifty",
      "sixty"}},
    {"quality",
     {"patient", "crooked", "respectable", "faded", "heavy", "cheerful", "doubtful", "well-made", "forgotten", "stubborn", "plain",
      "handsome", "quiet", "weathered"}},
    {"goods",
     {"dried apples", "candles", "walnuts", "smoked fish", "wool", "rope", "honey", "salt", "turnips", "tin plates", "buttons", "barley",
      "onions", "lamp oil", "chestnuts"}},
    {"storm", {"storm", "gale", "thaw", "hailstorm", "flood", "long frost", "night of wind"}},
    {"building",
     {"old granary", "town hall", "chapel", "customs house", "tannery", "inn by the gate", "brickworks", "dairy", "bathhouse", "wash house",
      "mill", "corn exchange"}},
    {"subject",
     {"geometry", "the migration of birds", "the history of bridges", "beekeeping", "grammar", "comets", "the cure of colds", "drainage",
      "old songs", "the law of inheritance", "mosses", "navigation", "the making of glass"}},
    {"trade",
     {"cooper", "schoolmaster", "surveyor", "dentist", "glazier", "sailmaker", "baker", "notary", "saddler", "piano tuner", "chimney sweep",
      "printer"}},
    {"weekday", {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}},
    {"late",
     {"late", "later than usual", "at an unlikely hour", "after everyone had given up", "without hurry", "all at once",
      "earlier than promised"}},
    {"doing",
     {"talking in low voices", "stamping their feet", "eating bread and pears", "guessing at the weather", "comparing their hats",
      "doing sums in the air", "saying little", "whistling", "complaining about the council", "making plans for Sunday"}},
    {"carefully",
     {"with great care", "slowly", "without a word", "as if for a wager", "in a steady voice", "with a frown", "twice over", "to the end",
      "neatly", "in the old manner"}},
    {"woman",
     {"Agnes", "Beatrix", "Clara", "Dorothea", "Edith", "Frieda", "Hanna", "Ines", "Lydia", "Margit", "Nora", "Ottilie", "Ruth", "Sabine"}},
    {"man",
     {"Albert", "Bruno", "Conrad", "Daniel", "Emil", "Felix", "Gregor", "Henrik", "Jonas", "Leopold", "Martin", "Oskar", "Paul", "Samuel"}},
    {"S",
     {"Arkwright", "Bellamy", "Carrow", "Dunstan", "Eskdale", "Fenwick", "Garland", "Holloway", "Ingram", "Jessop", "Kestle", "Lomax",
      "Merrow", "Norbury", "Orchardson"}},
    {"colour",
     {"amber", "cobalt", "crimson", "emerald", "indigo", "ivory", "jade", "magenta", "ochre", "opal", "scarlet", "silver", "teal",
      "turquoise", "violet"}},
    {"emblem",
     {"falcon", "lynx", "meridian", "obelisk", "pelican", "quasar", "salamander", "sextant", "sphinx", "tundra", "unicorn", "volcano",
      "walrus", "zephyr"}},
    {"place", {"archive", "vault", "laboratory", "observatory", "warehouse", "terminal", "bunker", "hangar"}},
};

static const char *draw(const char *name, size_t n_name, uint64_t *state) {
    for (size_t l = 0; l < COUNT_OF(lists); l++) {
        size_t n = 0;
        if (strncmp(lists[l].name, name, n_name) != 0 || lists[l].name[n_name]) {
            continue;
        }
        while (n < COUNT_OF(lists[l].word) && lists[l].word[n]) {
            n++;
        }
        return lists[l].word[iflow_random_below(state, n)];
    }
    return NULL;
}

/* Who and where a paragraph is about. */
typedef struct scene {
    const char *first_name, *surname, *town, *other_town, *time;
    bool woman;
} scene;

static const char *of_scene(const scene *s, const char *name, size_t n_name) {
    const struct {
        const char *name, *value;
    } known[] = {{"S", s->surname},
                 {"T", s->town},
                 {"T2", s->other_town},
                 {"M", s->time},
                 {"he", s->woman ? "she" : "he"},
                 {"He", s->woman ? "She" : "He"},
                 {"his", s->woman ? "her" : "his"},
                 {"him", s->woman ? "her" : "him"},
                 {"himself", s->woman ? "herself" : "himself"}};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strncmp(known[i].name, name, n_name) == 0 && !known[i].name[n_name]) {
            return known[i].value;
        }
    }
    return NULL;
}

/* Appends a sentence with its names filled in. */
static void add_sentence(text *to, const char *pattern, const scene *s, uint64_t *state) {
    while (*pattern) {
        const size_t plain = strcspn(pattern, "{");
        text_add(to, pattern, plain);
        pattern += plain;
        if (!*pattern) {
            break;
        }
        const size_t n = strcspn(++pattern, "}");
        const char *value = of_scene(s, pattern, n);
        if (n == 1 && *pattern == 'P') {
            text_printf(to, "%s %s", s->first_name, s->surname);
        } else {
            text_puts(to, value ? value : draw(pattern, n, state));
        }
        pattern += n + 1;
    }
}

/* ---- The haystack ------------------------------------------------------------------------------------------------------------------- */

/* Sentences that each begin with what divides them from the one before: nothing, a space or an empty line. n_tokens adds up those of all
 * sentences up to this one, each tokenised alone, which is near what they have together. */
typedef struct haystack {
    struct {
        char *text;
        size_t n_tokens;
    } * sentence;
    size_t n;
} haystack;

static iflow_status count_tokens(const iflow_model *model, const char *string, size_t *n) {
    int32_t *token = NULL;
    const iflow_status status = iflow_tokenize(model, string, strlen(string), false, &token, n);
    iflow_free(token);
    return status;
}

static void haystack_free(haystack *h) {
    for (size_t i = 0; i < h->n; i++) {
        free(h->sentence[i].text);
    }
    free(h->sentence);
    *h = (haystack){0};
}

/* Draws from order[i..n) without putting back: it changes places with order[i]. */
static size_t draw_once(size_t *order, size_t i, size_t n, uint64_t *state) {
    const size_t at = i + iflow_random_below(state, n - i), drawn = order[at];
    order[at] = order[i];
    order[i] = drawn;
    return drawn;
}

static iflow_status add_paragraph(const iflow_model *model, haystack *h, const char *const topic[SENTENCES], uint64_t *state) {
    const bool woman = iflow_random_below(state, 2);
    scene s = {.woman = woman};
    s.first_name = draw(woman ? "woman" : "man", woman ? 5 : 3, state); /* a statement each, for their order is part of the text */
    s.surname = draw("S", 1, state);
    s.town = draw("T", 1, state);
    s.other_town = draw("T2", 2, state);
    s.time = draw("M", 1, state);
    size_t order[SENTENCES - OPENERS];
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        order[i] = OPENERS + i;
    }
    const size_t n = 4 + iflow_random_below(state, 4);
    for (size_t i = 0; status == IFLOW_OK && i < n; i++) {
        size_t tokens = 0;
        text words = {0};
        add_sentence(&words, topic[i ? draw_once(order, i - 1, COUNT_OF(order), state) : iflow_random_below(state, OPENERS)], &s, state);
        char *sentence = text_format("%s%s", h->n == 0 ? "" : i ? " " : "\n\n", words.text);
        text_free(&words);
        status = count_tokens(model, sentence, &tokens);
        h->sentence = must_realloc(h->sentence, h->n + 1, sizeof *h->sentence);
        h->sentence[h->n].text = sentence;
        h->sentence[h->n].n_tokens = tokens + (h->n ? h->sentence[h->n - 1].n_tokens : 0);
        h->n++;
    }
    return status;
}

static iflow_status haystack_make(const iflow_model *model, uint64_t seed, size_t n_tokens, haystack *out) {
    char *name = text_format("haystack %" PRIu64, seed);
    uint64_t state = eval_hash(name);
    size_t order[COUNT_OF(topics)]; /* all topics come before one comes again */
    iflow_status status = IFLOW_OK;
    free(name);
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        order[i] = i;
    }
    for (size_t i = 0; status == IFLOW_OK && (out->n == 0 || out->sentence[out->n - 1].n_tokens < n_tokens); i++) {
        status = add_paragraph(model, out, topics[draw_once(order, i % COUNT_OF(order), COUNT_OF(order), &state)], &state);
    }
    return status;
}

static size_t tokens_before(const haystack *h, size_t sentence) {
    return sentence ? h->sentence[sentence - 1].n_tokens : 0;
}

/* The first n sentences with the needle where the share `depth` of their tokens stands before it. */
static char *lay(const haystack *h, size_t n, double depth, const char *needle) {
    const double want = depth * (double)tokens_before(h, n);
    size_t at = 0;
    for (size_t i = 1; i <= n; i++) {
        if (fabs((double)tokens_before(h, i) - want) < fabs((double)tokens_before(h, at) - want)) {
            at = i;
        }
    }
    text out = {0};
    for (size_t i = 0; i < at; i++) {
        text_puts(&out, h->sentence[i].text);
    }
    text_printf(&out, "%s%s", at ? " " : "", needle);
    for (size_t i = at; i < n; i++) {
        text_printf(&out, "%s%s", i ? "" : " ", h->sentence[i].text);
    }
    text_puts(&out, "\n\n");
    return out.text;
}

/* ---- The questions ------------------------------------------------------------------------------------------------------------------ */

/* The text of a cell: as many sentences as keep it within `length` tokens. NULL if not even the needle fits. */
static iflow_status fill(const iflow_model *model, const haystack *h, int length, double depth, const char *needle, char **out) {
    size_t n_needle = 0, n_all = 0, n = 0;
    iflow_status status = count_tokens(model, needle, &n_needle);
    while (n < h->n && h->sentence[n].n_tokens + n_needle <= (size_t)length) {
        n++;
    }
    for (;; n--) { /* together they may be a few tokens more than each alone */
        char *all = lay(h, n, depth, needle);
        if (status == IFLOW_OK) {
            status = count_tokens(model, all, &n_all);
        }
        if (status == IFLOW_OK && n_all <= (size_t)length) {
            *out = all;
            return IFLOW_OK;
        }
        free(all);
        if (status != IFLOW_OK || n == 0) {
            return status;
        }
    }
}

static int add_needle(const iflow_model *model, const haystack *h, int length, double depth, const char *id, eval_data *out) {
    uint64_t state = eval_hash(id);
    const char *colour = draw("colour", 6, &state), *emblem = draw("emblem", 6, &state), *place = draw("place", 5, &state);
    char *name = text_format("the access code of the %s %s %s", colour, emblem, place), *context = NULL;
    char *code = text_format("%zu", 100000 + iflow_random_below(&state, 900000));
    char *needle = text_format("T%s is %s.", name + 1, code), *question = text_format("What is %s?", name);
    int result = CLI_OK;
    const iflow_status status = fill(model, h, length, depth, needle, &context);
    if (status != IFLOW_OK) {
        result = cli_failed(status, id);
    } else if (!context) {
        cli_error("--needle %d: the needle alone is longer; give a greater length", length);
        result = CLI_FAILED;
    } else {
        json_t *object = json_pack("{s:s, s:s, s:[s], s:s}", "id", id, "question", question, "answers", code, "context", context);
        const char *why = NULL;
        if (!object || !eval_data_add(out, object, out->n + 1, NULL, &why)) {
            json_decref(object);
            cli_error("%s: %s", id, why ? why : "out of memory");
            result = CLI_FAILED;
        } else {
            out->question[out->n - 1].needle_length = length;
            out->question[out->n - 1].needle_depth = depth;
        }
    }
    free(name), free(code), free(needle), free(question), free(context);
    return result;
}

int eval_needles_make(const iflow_model *model, const needle_grid *grid, size_t limit, eval_data *out) {
    int result = CLI_OK, longest = 0;
    size_t n_cells = 0;
    out->path = "--needle";
    for (size_t l = 0; l < grid->n_lengths; l++) {
        longest = grid->length[l] > longest ? grid->length[l] : longest;
    }
    /* A text for each draw; its cells are prefixes of it, so that they share the chunks before their needles. */
    haystack *h = must_alloc((size_t)grid->repeat, sizeof *h);
    memset(h, 0, (size_t)grid->repeat * sizeof *h);
    for (int r = 0; result == CLI_OK && r < grid->repeat; r++) {
        const iflow_status status = haystack_make(model, grid->seed + (uint64_t)r, (size_t)longest, &h[r]);
        result = status == IFLOW_OK ? CLI_OK : cli_failed(status, "--needle");
    }
    for (size_t l = 0; l < grid->n_lengths; l++) {
        for (size_t d = 0; d < grid->n_depths; d++, n_cells++) {
            for (int r = 0; result == CLI_OK && r < grid->repeat && (limit == 0 || n_cells < limit); r++) {
                char *id = text_format("needle-%d-%g-%" PRIu64, grid->length[l], grid->depth[d], grid->seed + (uint64_t)r);
                result = add_needle(model, &h[r], grid->length[l], grid->depth[d], id, out);
                free(id);
            }
        }
    }
    for (int r = 0; r < grid->repeat; r++) {
        haystack_free(&h[r]);
    }
    free(h);
    return result;
}

/* ---- The grid ----------------------------------------------------------------------------------------------------------------------- */

/* Numbers separated by commas, those named twice once. False at *wrong, an item that is none or one too many. */
static bool parse_numbers(const char *list, double low, double high, bool whole, double number[NEEDLE_AXIS], size_t *n,
                          const char **wrong) {
    *n = 0;
    for (const char *item = list;; item++) {
        const size_t length = strcspn(item, ",");
        double value = 0;
        bool known = false;
        *wrong = item;
        if (!parse_number(item, length, low, high, &value) || (whole && strspn(item, "0123456789") != length)) {
            return false;
        }
        for (size_t i = 0; i < *n; i++) {
            known = known || fabs(number[i] - value) < 5e-7;
        }
        if (!known && *n == NEEDLE_AXIS) {
            return false;
        }
        if (!known) {
            number[(*n)++] = value;
        }
        item += length;
        if (!*item) {
            return true;
        }
    }
}

int needle_grid_parse(const command_usage *usage, const char *lengths, const char *depths, needle_grid *out) {
    double length[NEEDLE_AXIS] = {0};
    const char *wrong = NULL;
    if (!parse_numbers(lengths, 32, 1 << 24, true, length, &out->n_lengths, &wrong)) {
        return options_wrong(usage,
                             "--needle takes numbers of tokens from 32 to 16777216 separated by commas, at most %d of them, not '%.*s'",
                             NEEDLE_AXIS, (int)strcspn(wrong, ","), wrong);
    }
    if (!parse_numbers(depths, 0, 1, false, out->depth, &out->n_depths, &wrong)) {
        return options_wrong(usage, "--depths takes numbers from 0 to 1 separated by commas, at most %d of them, not '%.*s'", NEEDLE_AXIS,
                             (int)strcspn(wrong, ","), wrong);
    }
    for (size_t i = 0; i < out->n_lengths; i++) {
        out->length[i] = (int)length[i];
    }
    return CLI_OK;
}

int needle_grid_check(const needle_grid *grid, int n_ctx, size_t n_around) {
    for (size_t l = 0; l < grid->n_lengths; l++) {
        if ((size_t)grid->length[l] + n_around > (size_t)n_ctx) {
            cli_error("--needle %d: with up to %zu tokens of chat header, prompt and answer it is more than the context of %d tokens; give "
                      "at most %d",
                      grid->length[l], n_around, n_ctx, (size_t)n_ctx > n_around ? n_ctx - (int)n_around : 0);
            return CLI_FAILED;
        }
    }
    return CLI_OK;
}
