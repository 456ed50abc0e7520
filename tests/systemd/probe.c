/* What the daemon's own service is asked by --self-test, and what it answers: `probe`, `probe
 * answer`. */
#include "service.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	(void)argv;
	const char *text = argc > 1 ? service.answer : service.probe;
	return fputs(text ? text : "", stdout) < 0;
}
