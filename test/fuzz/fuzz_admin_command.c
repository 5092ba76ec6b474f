/* fuzz_admin_command.c - libFuzzer target: the console's grammar with any bytes.
 *
 * Beyond memory errors it checks that a refusal says why, that what was accepted has a tag and
 * columns, and that nothing but views and faked settings is open to a stats user.
 */
#include "base/base.h"

#include "base/check.h"
#include "proxy/admin/admin_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct admin_command cmd;
    struct error err = {""};
    const struct wire_column *cols = NULL;
    char tag[ADMIN_ARG_MAX + ADMIN_VALUE_MAX + 8];
    if (admin_command_parse((struct str){(const char *)data, size}, &cmd, &err) != ST_OK) {
        CHECK(err.text[0] != '\0');
        return 0;
    }
    CHECK(cmd.kind < CMDS && strlen(cmd.arg) <= ADMIN_ARG_MAX);
    CHECK(strlen(cmd.value) <= ADMIN_VALUE_MAX);
    CHECK((cmd.view != NULL) == (cmd.kind == CMD_SHOW));
    admin_command_tag(&cmd, tag, sizeof(tag));
    CHECK(tag[0] != '\0');
    CHECK(admin_command_columns(&cmd, &cols) == 0 || cols != NULL);
    bool open = cmd.kind == CMD_SHOW || cmd.kind == CMD_SHOW_FAKED || cmd.kind == CMD_SET_FAKED;
    CHECK(open || admin_command_refused(&cmd, ADMIN_STATS, &err));
    CHECK(!admin_command_refused(&cmd, ADMIN_FULL, &err));
    return 0;
}
