/* fillers.c - the generic texts that chunks are prefilled after. */
#include "flow/fillers.h"

#include <stdlib.h>
#include <string.h>

enum { N_TEXT = 160 }; /* tokens of each that are used, if it has them */

/* Short articles about things that do not exist, which measured better than a text about itself or other kinds of text
 * (docs/results/APPENDIX.md). Part of the identity of all chunks prefilled after them: a changed word is another text, and its chunks have
 * to be computed again. */
static const char *const texts[IFLOW_MAX_FILLERS] = {
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
};

iflow_status iflow_texts_make(const iflow_model *model, iflow_texts *out) {
    int32_t *token = iflow_calloc(model->n_sink + (size_t)IFLOW_MAX_FILLERS * N_TEXT, sizeof *token);
    if (!token) {
        return iflow_fail_memory(IFLOW_MAX_FILLERS * N_TEXT * sizeof *token);
    }
    *out = (iflow_texts){.token = token, .end = {model->n_sink}};
    memcpy(token, model->n_sink ? model->sink : token, model->n_sink * sizeof *token);
    for (int i = 0; i < IFLOW_MAX_FILLERS; i++) {
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

iflow_status iflow_texts_prefix(const iflow_texts *texts_of, int text, iflow_tokens *out) {
    const size_t n_sink = text == IFLOW_NO_PREFIX ? 0 : texts_of->end[0];
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
