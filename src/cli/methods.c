/* methods.c - `infoflow methods`: lists methods, scores and geometries. */
#include "cli/cli.h"
#include "cli/options.h"
#include "infoflow.h"

#include <stdio.h>

int cli_methods(int argc, char **argv) {
    const command_usage usage = {"methods", "", "Lists the values of --method (of eval: --methods), --score and --geometry.",
                                 "  infoflow methods"};
    const option_spec spec[] = {{0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first < argc) {
        return options_wrong(&usage, "'%s' is one argument too many", argv[first]);
    }
    puts("Methods:");
    for (int i = 0; iflow_method_name((iflow_method)i); i++) {
        printf("  %-12s%s%s%s\n", iflow_method_name((iflow_method)i), iflow_method_get_info((iflow_method)i)->about,
               iflow_method_get_info((iflow_method)i)->by_ratio ? "; by --ratio" : "",
               iflow_method_get_info((iflow_method)i)->repairs ? "; corrected, with drift" : "");
    }
    puts("Corrected: stored KV is changed by what `infoflow learn` measured, where there is such a file (--correction).");
    puts("With drift: the keys of a chunk's other tokens are shifted as those of its recomputed ones moved (--drift).");
    puts("\nScores, of the method infoflow:");
    for (int i = 0; iflow_score_name((iflow_score)i); i++) {
        printf("  %-12s%s\n", iflow_score_name((iflow_score)i), iflow_score_about((iflow_score)i));
    }
    puts("\nGeometries, of its scoring:");
    for (int i = 0; iflow_geometry_name((iflow_geometry)i); i++) {
        printf("  %-12s%s\n", iflow_geometry_name((iflow_geometry)i), iflow_geometry_about((iflow_geometry)i));
    }
    return cli_finish(CLI_OK);
}
