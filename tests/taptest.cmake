# skeld_test(NAME name COMMAND command [argument...] [CRITERION] [ALONE | BUSY] [TIMEOUT seconds]
#	[LABELS label...] [NEEDS option...])
#
# Adds a test program that CTest runs through run-tap. The command is a target or a script; it speaks
# TAP, a Criterion program by itself, anything else on its standard output. Labels: `all` is for what
# needs large packages (only scripts/test --all runs it), `long` for what only --long runs.
# Alone: no other test runs meanwhile, for it takes all the processors and measures.
# Busy: it builds, on all the processors. Such tests begin first and run one at a time, and beside them
# those that mostly wait; scripts/test runs one test more than there are processors.
# Needs: options of the build (ADMIN, SOCKETS, WORKERS) without which the test is skipped, and says so.
# The program finds in its environment SKELD (the daemon), SKELD_ECHO (the one that serves echo, see
# echo.cmake), SKELD_SOURCE and SKELD_BUILD (directories).

function(skeld_test)
	cmake_parse_arguments(PARSE_ARGV 0 arg "CRITERION;ALONE;BUSY" "NAME;TIMEOUT" "COMMAND;LABELS;NEEDS")
	if(NOT arg_NAME OR NOT arg_COMMAND OR arg_UNPARSED_ARGUMENTS)
		message(FATAL_ERROR "skeld_test: NAME and COMMAND are needed, \"${arg_UNPARSED_ARGUMENTS}\" is not understood")
	endif()
	if(NOT arg_TIMEOUT)
		set(arg_TIMEOUT 120)
	endif()
	if(SKELD_SANITIZE)
		string(APPEND arg_NAME "-${SKELD_SANITIZE}")
	endif()
	set(processors 1)
	set(cost 0)
	if(arg_BUSY)
		cmake_host_system_information(RESULT processors QUERY NUMBER_OF_LOGICAL_CORES)
		set(cost ${arg_TIMEOUT})
	endif()
	foreach(option ${arg_NEEDS})
		if(NOT SKELD_${option})
			set(arg_COMMAND printf "1..1\\nok 1 - ${arg_NAME} # SKIP built without SKELD_${option}\\n")
			set(arg_CRITERION OFF)
		endif()
	endforeach()
	list(POP_FRONT arg_COMMAND program)
	if(TARGET ${program})
		set(program $<TARGET_FILE:${program}>)
	endif()
	add_test(NAME ${arg_NAME} COMMAND ${PROJECT_SOURCE_DIR}/tests/run-tap $<$<BOOL:${arg_CRITERION}>:--criterion>
		${PROJECT_BINARY_DIR}/tap/${arg_NAME}.tap ${program} ${arg_COMMAND} COMMAND_EXPAND_LISTS)
	set_tests_properties(${arg_NAME} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
		RUN_SERIAL $<BOOL:${arg_ALONE}> PROCESSORS ${processors} COST ${cost} SKIP_RETURN_CODE 77 ENVIRONMENT
		"SKELD=$<TARGET_FILE:skeld>;SKELD_ECHO=$<TARGET_FILE:${SKELD_ECHO}>;SKELD_SOURCE=${PROJECT_SOURCE_DIR};SKELD_BUILD=${PROJECT_BINARY_DIR}")
endfunction()

# Criterion's runner does not start under the thread sanitizer. Only the daemon is built with it; the
# tests that drive it are not, and the units, which link its code, are left out.
if(SKELD_SANITIZE STREQUAL "thread")
	add_compile_options(-fno-sanitize=thread)
	add_link_options(-fno-sanitize=thread)
endif()
