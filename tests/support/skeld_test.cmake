# Registers tests with CTest. Adding a test is adding a file: skeld_tests() finds every test_*.c, and
# skeld_scripts() every executable file, of a folder.
#
# A file that needs more than the defaults states that in a comment line, in C or in a script:
#
#	/* build: WRAP listen strdup SOURCES ../x.c LINK skeld_service DEFINE A=1 */
#	/* test: TIMEOUT 300 LABELS all NEEDS ADMIN */
#	/* test: NAME long ENV SKELD_LONG=1 TIMEOUT 1800 LABELS long */
#
# WRAP lets the test replace a function of the daemon or of libc (ld(1), --wrap). Each `test:` line adds one
# test; NAME is appended to the name of the file, ARGS are passed to the program, ENV is its environment. The
# other words are options of skeld_test().

# A slow or busy machine fails no test: every time limit, of CTest and of each wait in a test, is multiplied by
# this. It costs nothing unless a test hangs.
set(SKELD_TEST_SLOW 10 CACHE STRING "How many times longer than on an idle machine a test may take")

# skeld_test(NAME name COMMAND command [argument...] [CRITERION] [ALONE | BUSY] [TIMEOUT seconds]
#	[COST seconds] [LABELS label...] [NEEDS option...] [ENV name=value...])
#
# Adds a test program that CTest runs through run-tap. The command is a target or a script. It writes TAP: a
# Criterion program does so by itself, any other program on its standard output.
#   TIMEOUT      on an idle machine, 120 by default; see SKELD_TEST_SLOW
#   COST         it takes that long, in seconds: it starts early, and not last when nothing else is left to do
#   LABELS all   only scripts/test --all runs it; LABELS long: only --long; LABELS once: not with the sanitizers
#   ALONE        no other test runs at the same time, because the load would disturb it
#   BUSY         it builds, or uses all processors in another way; such tests start first and run one at a time
#   NEEDS        an option of the build (ADMIN, SOCKETS), or the library of an example service in capitals (SQLITE3);
#                without it the test is skipped with this reason
# The program finds SKELD (the daemon), SKELD_ECHO (the daemon that tests drive, unless they use another one), SKELD_SOURCE
# and SKELD_BUILD (directories) in its environment.
function(skeld_test)
	cmake_parse_arguments(PARSE_ARGV 0 arg "CRITERION;ALONE;BUSY" "NAME;TIMEOUT;COST" "COMMAND;LABELS;NEEDS;ENV")
	if(NOT arg_NAME OR NOT arg_COMMAND OR arg_UNPARSED_ARGUMENTS)
		message(FATAL_ERROR "skeld_test(${arg_NAME}): NAME and COMMAND are required, "
			"\"${arg_UNPARSED_ARGUMENTS}\" is not an option")
	endif()
	if(NOT arg_TIMEOUT)
		set(arg_TIMEOUT 120)
	endif()
	math(EXPR limit "${arg_TIMEOUT} * ${SKELD_TEST_SLOW}")
	if(SKELD_SANITIZE)
		string(APPEND arg_NAME "-${SKELD_SANITIZE}")
	endif()
	set(processors 1)
	set(lock "")
	set(cost 0)
	if(arg_COST)
		set(cost ${arg_COST})
	endif()
	if(arg_BUSY)
		cmake_host_system_information(RESULT processors QUERY NUMBER_OF_LOGICAL_CORES)
		set(cost ${arg_TIMEOUT})
		set(lock processors)
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
	set(runner ${PROJECT_SOURCE_DIR}/tests/support/run-tap)
	if(arg_CRITERION)
		list(APPEND runner --criterion)
	endif()
	add_test(NAME ${arg_NAME} COMMAND ${runner} ${PROJECT_BINARY_DIR}/tap/${arg_NAME}.tap ${program} ${arg_COMMAND})
	set(environment SKELD=$<TARGET_FILE:skeld> SKELD_ECHO=$<TARGET_FILE:${SKELD_ECHO}>
		SKELD_SOURCE=${PROJECT_SOURCE_DIR} SKELD_BUILD=${PROJECT_BINARY_DIR} SKELD_TEST_SLOW=${SKELD_TEST_SLOW} ${arg_ENV})
	set_tests_properties(${arg_NAME} PROPERTIES TIMEOUT ${limit} LABELS "${arg_LABELS}"
		RUN_SERIAL $<BOOL:${arg_ALONE}> PROCESSORS ${processors} COST ${cost} RESOURCE_LOCK "${lock}" SKIP_RETURN_CODE 77
		ENVIRONMENT "${environment}")
endfunction()

# The comment lines "KEY: ..." of FILE, without the key and the comment marks.
function(skeld_comments file key result)
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
	file(STRINGS ${file} lines REGEX "^(/\\*|#) ${key}: ")
	list(TRANSFORM lines REPLACE "^[/*#]+ ${key}: (.*)$" "\\1")
	list(TRANSFORM lines REPLACE " *\\*/$" "")
	set(${result} "${lines}" PARENT_SCOPE)
endfunction()

# The tests of one file: one for each `test:` line, or one with the defaults.
function(skeld_tests_of file name command)
	skeld_comments(${file} test lines)
	if(NOT lines)
		set(lines " ")
	endif()
	foreach(line IN LISTS lines)
		separate_arguments(words UNIX_COMMAND "${line}")
		cmake_parse_arguments(more "ALONE;BUSY" "NAME;TIMEOUT;COST" "ARGS;LABELS;NEEDS;ENV" ${words})
		set(options ${more_UNPARSED_ARGUMENTS})
		foreach(flag ALONE BUSY)
			if(more_${flag})
				list(APPEND options ${flag})
			endif()
		endforeach()
		if(more_TIMEOUT)
			list(APPEND options TIMEOUT ${more_TIMEOUT})
		endif()
		if(more_COST)
			list(APPEND options COST ${more_COST})
		endif()
		if(more_NAME)
			set(more_NAME -${more_NAME})
		endif()
		skeld_test(${options} NAME ${name}${more_NAME} COMMAND ${command} ${more_ARGS} ${ARGN}
			LABELS ${more_LABELS} NEEDS ${more_NEEDS} ENV ${more_ENV})
	endforeach()
endfunction()

# skeld_tests(prefix [LINK library...] [DEPENDS target...])
#
# Each test_NAME.c of this folder becomes the Criterion program PREFIX_NAME and the test PREFIX-NAME.
function(skeld_tests prefix)
	cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LINK;DEPENDS")
	file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/test_*.c)
	foreach(source ${sources})
		get_filename_component(name ${source} NAME_WE)
		string(REPLACE test_ "" name ${name})
		skeld_comments(${source} build lines)
		string(REPLACE ";" " " lines "${lines}")
		separate_arguments(words UNIX_COMMAND "${lines}")
		cmake_parse_arguments(build "" "" "WRAP;SOURCES;LINK;DEFINE" ${words})
		skeld_comments(${source} test tests)
		# full-only: begin
		if(NOT SKELD_TLS AND tests MATCHES "NEEDS TLS") # it does not compile without OpenSSL
			skeld_test(NAME ${prefix}-${name} COMMAND none NEEDS TLS)
			continue()
		endif()
		# full-only: end
		add_executable(${prefix}_${name} ${source} ${build_SOURCES})
		target_link_libraries(${prefix}_${name} PRIVATE ${arg_LINK} ${build_LINK})
		target_compile_definitions(${prefix}_${name} PRIVATE ${build_DEFINE})
		foreach(function ${build_WRAP})
			target_link_options(${prefix}_${name} PRIVATE LINKER:--wrap=${function})
		endforeach()
		if(arg_DEPENDS)
			add_dependencies(${prefix}_${name} ${arg_DEPENDS})
		endif()
		skeld_tests_of(${source} ${prefix}-${name} ${prefix}_${name} CRITERION)
	endforeach()
endfunction()

# skeld_scripts(prefix)
#
# Each executable file of this folder that has a `test:` line becomes the test PREFIX-NAME.
function(skeld_scripts prefix)
	file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*)
	foreach(script ${scripts})
		get_filename_component(name ${script} NAME)
		if(IS_DIRECTORY ${script} OR name MATCHES "[.]")
			continue()
		endif()
		skeld_comments(${script} test lines)
		if(lines)
			skeld_tests_of(${script} ${prefix}-${name} ${script})
		endif()
	endforeach()
endfunction()

# full-only: begin
# A daemon for tests: main.c and the SOURCES of a service, built with the sanitizer as the daemon is.
function(skeld_test_daemon name) # SOURCES...
	add_executable(${name} ${PROJECT_SOURCE_DIR}/daemon/main.c ${ARGN})
	target_link_libraries(${name} PRIVATE skeld_core)
	if(SKELD_SANITIZE STREQUAL "thread")
		target_compile_options(${name} PRIVATE SHELL:-fsanitize=thread)
		target_link_options(${name} PRIVATE SHELL:-fsanitize=thread)
	endif()
endfunction()

# full-only: end
# Criterion's runner does not start under the thread sanitizer. So only the daemon is built with it: the
# tests that drive the daemon are not, and the unit tests, which link its code, are left out.
if(SKELD_SANITIZE STREQUAL "thread")
	add_compile_options(-fno-sanitize=thread)
	add_link_options(-fno-sanitize=thread)
endif()
