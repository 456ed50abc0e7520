/* The negative control of test_alone.c: bare libconfuse in the process itself parses FILE twice, as
 * a start and a reload do. */
#include <confuse.h>

static void ignore_message(cfg_t *cfg, const char *format, va_list ap)
{
	(void)cfg, (void)format, (void)ap;
}

int main(int argc, char *argv[])
{
	if (argc != 2)
		return 64;
	for (int i = 0; i < 2; i++) {
		cfg_opt_t options[] = {CFG_INT("port", 0, 0), CFG_END()};
		cfg_t *cfg = cfg_init(options, CFGF_NONE);
		cfg_set_error_function(cfg, ignore_message);
		cfg_parse(cfg, argv[1]);
		cfg_free(cfg);
	}
	return 0;
}
