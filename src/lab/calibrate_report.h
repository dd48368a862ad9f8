/* calibrate_report.h - what a calibration found: its table and verdict for people, and the profile. */
#ifndef IFLOW_LAB_CALIBRATE_REPORT_H
#define IFLOW_LAB_CALIBRATE_REPORT_H

#include "cli/session.h"
#include "service/calibration.h"

#include <jansson.h>

/* A setting in words. free(). */
char *calibrate_name(const calibration *c, const calibration_setting *what);

/* On standard output. */
void calibrate_print(const calibration *c);

/* The profile of the session's model. A new reference. */
json_t *calibrate_profile(const calibration *c, const session *s);

#endif
