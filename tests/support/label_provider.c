/*
 * A provider of security labels, for tests: PostgreSQL itself has none.
 *
 * It takes every label but the one that the parameter pghaul_label.refused names.
 */
#include "postgres.h"

#include "commands/seclabel.h"
#include "fmgr.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

static void
check(const ObjectAddress *object, const char *label)
{
	const char *refused = GetConfigOption("pghaul_label.refused", true, false);

	if (label != NULL && refused != NULL && strcmp(label, refused) == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_NAME), errmsg("this label is refused"));
}

void
_PG_init(void)
{
	register_label_provider("pghaul", check);
}
