# The daemon that the tests of the skeleton drive: SKELD_ECHO, a target. It serves echo, whatever the
# daemon serves that this project is about: a service of your own breaks no test. Where daemon/service/
# is echo it is the daemon itself, else it is made from integration/services/echo.c.
set(SKELD_ECHO skeld)
set(SKELD_ECHO_SOURCE ${PROJECT_SOURCE_DIR}/daemon/service/echo.c)
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/integration/services/echo.c)
	set(SKELD_ECHO skeld_echo)
	set(SKELD_ECHO_SOURCE ${CMAKE_CURRENT_LIST_DIR}/integration/services/echo.c)
	if(NOT TARGET skeld_echo)
		add_executable(skeld_echo ${PROJECT_SOURCE_DIR}/daemon/main.c ${SKELD_ECHO_SOURCE})
		target_link_libraries(skeld_echo PRIVATE skeld_core)
		# Called as the daemon is: its name is in what it says, and in what is said of it.
		set_target_properties(skeld_echo PROPERTIES OUTPUT_NAME skeld
			RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/echo)
	endif()
endif()
