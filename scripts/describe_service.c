/*
 * Prints what the test of a service needs. scripts/new-daemon links this program with the service.
 *
 *     describe           the macros REQUEST, ANSWER and LAST_WORDS of the test
 *     describe NUMBER    the option of this number with a changed value, as a section of the
 *                        configuration; nothing if a reload cannot change it; exit status 3 if
 *                        there is no such option
 */
#include "service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_macro(const char *name, const char *text)
{
	printf("#define %s \"", name);
	for (const char *p = text ? text : ""; *p; p++)
		if (*p == '\n')
			fputs("\\n", stdout);
		else if (*p == '\r')
			fputs("\\r", stdout);
		else if (*p == '"' || *p == '\\')
			printf("\\%c", *p);
		else if (*p < ' ' || *p > '~')
			printf("\\%03o", (unsigned char)*p);
		else
			putchar(*p);
	puts("\"");
}

static void print_changed(const struct service_option *o)
{
	const char *old = o->default_value ? o->default_value : "";
	long long number = strtoll(old, NULL, 10);
	const char *last = o->choices ? strrchr(o->choices, ' ') : NULL; /* a blank and a word */
	if (o->needs_restart || o->type == OPTION_PATH || o->type == OPTION_ADDRESS ||
	    o->type == OPTION_SECTIONS || o->type == OPTION_USER || o->type == OPTION_GROUP)
		return;
	printf("%s { %s = ", service.name, o->name);
	if (o->type == OPTION_NUMBER)
		printf("%lld }\n", number < o->max ? number + 1 : (long long)o->min);
	else if (o->type == OPTION_FLAG)
		printf("%s }\n", strcmp(old, "true") == 0 ? "false" : "true");
	else if (o->type == OPTION_MODE)
		printf("\"%s\" }\n", strcmp(old, "0600") == 0 ? "0660" : "0600");
	else if (o->type == OPTION_TEXT || o->type == OPTION_SECRET || o->type == OPTION_LIST)
		printf("\"%sx\" }\n", old);
	else if (last && strcmp(last + 1, old) != 0)
		printf("\"%s\" }\n", last + 1);
	else
		printf("\"%.*s\" }\n", (int)strcspn(o->choices, " "), o->choices);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_macro("REQUEST", service.probe);
		print_macro("ANSWER", service.answer);
		printf("#define LAST_WORDS %s\n",
		       service.protocol.draining || service.protocol.ending ? "true" : "false");
		return 0;
	}
	for (const struct service_option *o = service.options; o && o->name; o++)
		if (o - service.options == atoi(argv[1]))
			return print_changed(o), 0;
	return 3;
}
