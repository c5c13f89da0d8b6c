"""A study's storage folder that lies elsewhere than where it was made."""

import sqlite3
from contextlib import closing
from pathlib import Path


def tell_mlflow(storage: Path, earlier: str) -> None:
    """Writes the folder's place into MLflow's database where the earlier one stands."""
    with closing(sqlite3.connect(storage / "mlflow.db")) as database:
        columns = database.execute(
            "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
            "WHERE tables.type = 'table' AND (columns.type LIKE '%CHAR%' OR columns.type LIKE '%TEXT%')"
        ).fetchall()
        for table, column in columns:
            change = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
            database.execute(change, (earlier, str(storage), earlier))
        database.commit()
