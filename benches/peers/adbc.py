"""The peer of a spool: ADBC's driver for PostgreSQL with pyarrow, as its users put them together.

    adbc.py extract DSN FOLDER SCHEMA.TABLE…    one Parquet file for each table
    adbc.py load DSN FOLDER                     each file into a new table
"""

import pathlib
import sys

import adbc_driver_postgresql.dbapi as postgresql
import pyarrow
import pyarrow.parquet as parquet


def extract(dsn, folder, tables):
    """Batch by batch, so that memory is bounded; the same compression as pghaul's."""
    with postgresql.connect(dsn) as connection, connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            reader = cursor.fetch_record_batch()
            with parquet.ParquetWriter(folder / f"{table}.parquet", reader.schema,
                                       compression="zstd", compression_level=1) as writer:
                for batch in reader:
                    writer.write_batch(batch)


def load(dsn, folder):
    """All tables in one transaction."""
    with postgresql.connect(dsn) as connection, connection.cursor() as cursor:
        for path in sorted(folder.glob("*.parquet")):
            schema, table, _ = path.name.split(".")
            with parquet.ParquetFile(path) as file:
                batches = pyarrow.RecordBatchReader.from_batches(
                    file.schema_arrow, file.iter_batches())
                cursor.adbc_ingest(table, batches, mode="create", db_schema_name=schema)
        connection.commit()


if __name__ == "__main__":
    verb, dsn, folder, *tables = sys.argv[1:]
    if verb == "extract":
        extract(dsn, pathlib.Path(folder), tables)
    else:
        load(dsn, pathlib.Path(folder))
