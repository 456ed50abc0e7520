/* Prints the self-test probe of the service, or with the argument `answer` the answer to it. */
#include "service.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	(void)argv;
	const char *text = argc > 1 ? service.answer : service.probe;
	return fputs(text ? text : "", stdout) < 0;
}
