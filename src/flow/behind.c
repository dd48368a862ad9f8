/* behind.c - the generic texts that chunks are prefilled behind. */
#include "flow/behind.h"

#include <stdlib.h>
#include <string.h>

enum { N_TEXT = 160 }; /* tokens of each that are used, if it has them */

/* Short articles about nothing that is, which measured better than a text about itself, then other kinds (docs/RESULTS.md). Part of the
 * identity of all chunks prefilled behind them: a changed word is another text, and its chunks have to be computed again. */
static const char *const texts[IFLOW_MAX_BEHIND] = {
    "Tallow Bridge\n"
    "Tallow Bridge is a stone road bridge of three arches over the river Orne, built between 1764 and 1771 by the mason Peter "
    "Halden. It carried the post road to the coast until a wider crossing was opened upstream in 1932. The bridge was damaged by "
    "floods twice, and its parapets were renewed in 1958. Today only walkers and cyclists may use it.\n"
    "\n"
    "Anna Lindqvist\n"
    "Anna Maria Lindqvist (4 May 1887 - 19 October 1961) was a chemist and teacher. After her studies she worked for eight years in "
    "the laboratory of a sugar factory, where she developed a method for measuring impurities in syrup. From 1921 she taught at a "
    "school for girls, and she wrote two textbooks that remained in print until the 1950s. She never married, and left her library "
    "to the town.\n"
    "\n"
    "The Glass Orchard\n"
    "The Glass Orchard is a 1996 drama film directed by Tomas Ferrer from a screenplay by Ruth Calloway. It follows three sisters "
    "who return to the farm of their late father and find that it has been sold. The film was shot in eleven weeks in the south of "
    "the country and received mixed reviews, with praise for its photography and for the performance of the youngest of the leads.\n"
    "\n",
    "Marsh Heron Reservoir\n"
    "Marsh Heron Reservoir is an artificial lake in the upper valley of the Tessel, formed by an earth dam that was "
    "completed in 1913. It supplies drinking water to four towns and has an area of 212 hectares. Sailing has been "
    "permitted since 1967. The village of Old Corrie was abandoned before the valley was flooded, and its church tower can "
    "be seen in dry summers.\n"
    "\n"
    "Bernard Okafor\n"
    "Bernard Chidi Okafor (born 11 February 1952) is a retired long-distance runner and sports official. He won the bronze "
    "medal in the 10,000 metres at the 1974 regional games and set two national records. After his retirement he worked as "
    "a coach, and from 1994 to 2003 he was president of the athletics federation of his country.\n"
    "\n"
    "Northern Lantern\n"
    "Northern Lantern is the third studio album by the band Paper Harbour, released on 9 October 2006. It was recorded in "
    "a disused chapel with the producer Ellen Strand and was preceded by the single \"Cold Hands\". The album reached number "
    "fourteen on the national chart and was certified gold in the following year.\n"
    "\n",
    "Kestrel Motor Works\n"
    "Kestrel Motor Works was a manufacturer of light lorries and delivery vans that was active between 1919 and 1938. It "
    "was founded by the brothers Hugh and Walter Penrose in a former brewery, and at its height employed about six hundred "
    "people. The company failed after a fire destroyed the paint shop, and its buildings were later used as a school.\n"
    "\n"
    "The Long Winter Letters\n"
    "The Long Winter Letters is a novel by the author Maria Castellan, first published in 1978. It tells the story of a "
    "lighthouse keeper and his correspondence with a botanist whom he has never met. The book was awarded two literary "
    "prizes and has been translated into nineteen languages. A television series based on it was broadcast in 1985.\n"
    "\n"
    "Hallow Spotted Frog\n"
    "The Hallow spotted frog (Rana hallowensis) is a species of frog in the family Ranidae. It lives in streams and wet "
    "meadows at altitudes between 900 and 1,700 metres. Adults are from four to six centimetres long and feed on beetles, "
    "spiders and worms. The species is threatened by the loss of its habitat.\n"
    "\n",
    "Battle of Sorrel Ford\n"
    "The Battle of Sorrel Ford was fought on 3 September 1644 between the army of the Count of Vesper and the militia of "
    "the river towns. The militia, commanded by the merchant Dirk Aldous, held the ford for five hours until darkness "
    "fell. About two hundred men lost their lives. A chapel that stands near the place was built in memory of the dead.\n"
    "\n"
    "Eastgate Line\n"
    "The Eastgate Line is a suburban railway line of 23 kilometres with eleven stations, which links the central station "
    "with the port. It was opened in two stages in 1902 and 1907 and electrified in 1955. Trains run every fifteen minutes "
    "during the day. A branch to the airport has been planned since 1998 but was never built.\n"
    "\n"
    "Simone Vauquelin\n"
    "Simone Vauquelin (22 August 1930 - 7 March 2011) was an actress and singer of stage and screen. She made her debut at "
    "the age of seventeen in a comedy by her uncle and appeared in more than forty films, most of them directed by Jean "
    "Morel, to whom she was married from 1959 until 1970.\n"
    "\n",
    "University of Westmarch\n"
    "The University of Westmarch is a public university in the town of Westmarch, founded in 1868 as a college of "
    "agriculture. It has about 12,400 students and seven faculties, of which the faculty of veterinary medicine is the "
    "oldest. The university's botanical garden is open to the public and holds a large collection of alpine plants.\n"
    "\n"
    "2009 Coastal Cup Final\n"
    "The 2009 Coastal Cup Final was a football match between Harbour Rovers and Saint Aldhelm's, played on 16 May 2009 in "
    "front of 31,204 spectators. Rovers won by two goals to one after extra time. The deciding goal was scored by the "
    "substitute Marco Bellini, who had joined the club in January. It was their first title since 1961.\n"
    "\n"
    "Copper Lily\n"
    "The copper lily is a flowering plant of the family Amaryllidaceae that is found on dry hills and along the edges of "
    "woods. It grows from a bulb, has narrow leaves, and bears a single yellow to copper-red flower in late summer. It was "
    "described in 1836 by the botanist William Herbert.\n"
    "\n",
    "Question: How do I keep bread fresh for longer?\n"
    "Answer: Keep it in a cloth bag or a bread box at room temperature, and freeze what you will not eat within two days. "
    "A fridge makes it go stale faster.\n"
    "\n"
    "Question: My bicycle chain squeaks. What can I do?\n"
    "Answer: Clean it with a dry rag, put one drop of oil on every link, turn the pedals for a minute and wipe off what is "
    "left over.\n"
    "\n"
    "Question: When should apple trees be pruned?\n"
    "Answer: In late winter, before the buds open, on a dry day without frost. Take out dead wood first, then branches "
    "that cross.\n"
    "\n"
    "Question: Can I paint over wallpaper?\n"
    "Answer: Yes, if it is firmly stuck and has no vinyl surface. Fill the seams, use a primer first, and try a small area "
    "to see whether the paper comes loose.\n"
    "\n"
    "Question: Why does my coffee taste bitter?\n"
    "Answer: The water is too hot or the coffee too finely ground. Let the kettle stand for a minute before you pour.\n"
    "\n",
    "def read_table(path, separator=\",\"):\n"
    "    rows = []\n"
    "    with open(path, encoding=\"utf-8\") as file:\n"
    "        header = file.readline().rstrip(\"\\n\").split(separator)\n"
    "        for line in file:\n"
    "            values = line.rstrip(\"\\n\").split(separator)\n"
    "            if len(values) != len(header):\n"
    "                raise ValueError(\"line has %d values, header has %d\" % (len(values), len(header)))\n"
    "            rows.append(dict(zip(header, values)))\n"
    "    return rows\n"
    "\n"
    "\n"
    "def mean(rows, column):\n"
    "    numbers = [float(row[column]) for row in rows if row[column]]\n"
    "    return sum(numbers) / len(numbers) if numbers else None\n"
    "\n"
    "\n"
    "def largest(rows, column, count=10):\n"
    "    return sorted(rows, key=lambda row: float(row[column] or 0), reverse=True)[:count]\n"
    "\n",
    "The committee met on the second Tuesday of the month, as it always had, in the room above the library. Mrs. Farrow "
    "read the minutes, nobody objected to them, and the treasurer reported that the roof would cost more than had been "
    "thought. There was some talk of a concert. Old Mr. Dunne said that in his father's time the bells had been rung for "
    "less, and that people would come if only somebody asked them. In the end it was agreed that letters would be written, "
    "that tea would be served, and that the matter of the gate would be left until spring. Then they put out the lamps and "
    "went down the stairs one by one, holding the rail, because the third step was loose and had been loose for as long as "
    "anyone could remember.\n"
    "\n",
};

iflow_status iflow_texts_make(const iflow_model *model, iflow_texts *out) {
    int32_t *token = iflow_calloc(model->n_sink + (size_t)IFLOW_MAX_BEHIND * N_TEXT, sizeof *token);
    if (!token) {
        return iflow_fail_memory(IFLOW_MAX_BEHIND * N_TEXT * sizeof *token);
    }
    *out = (iflow_texts){.token = token, .end = {model->n_sink}};
    memcpy(token, model->n_sink ? model->sink : token, model->n_sink * sizeof *token);
    for (int i = 0; i < IFLOW_MAX_BEHIND; i++) {
        int32_t *text = NULL;
        size_t n = 0;
        const iflow_status status = iflow_tokenize(model, texts[i], strlen(texts[i]), false, &text, &n);
        if (status) {
            return status;
        }
        n = n > N_TEXT ? N_TEXT : n;
        memcpy(token + out->end[i], n ? text : token, n * sizeof *token);
        out->end[i + 1] = out->end[i] + n;
        free(text);
    }
    return IFLOW_OK;
}

iflow_status iflow_texts_lead(const iflow_texts *texts_of, int text, iflow_tokens *out) {
    const size_t n_sink = text == IFLOW_BEHIND_NOTHING ? 0 : texts_of->end[0];
    const size_t start = text > 0 ? texts_of->end[text - 1] : 0, n = text > 0 ? texts_of->end[text] - start : 0;
    out->token = iflow_calloc(n_sink + n, sizeof *out->token);
    if (!out->token) {
        return iflow_fail_memory((n_sink + n) * sizeof *out->token);
    }
    out->n = n_sink + n;
    memcpy(out->token, texts_of->token, n_sink * sizeof *out->token);
    memcpy(out->token + n_sink, texts_of->token + start, n * sizeof *out->token);
    return IFLOW_OK;
}
