/* Prints the probe of the daemon's service, or with the argument `answer` its answer. */
#include "service.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	(void)argv;
	const char *text = argc > 1 ? service.answer : service.probe;
	return fputs(text ? text : "", stdout) < 0;
}
