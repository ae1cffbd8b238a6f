"""Reads Parquet files with a program that knows nothing of pghaul, and prints their rows as JSON, as
PostgreSQL's row_to_json has them: read.py READER FILE..."""

import base64
import datetime
import decimal
import json
import sys
import uuid


def pyarrow(files):
    import pyarrow
    import pyarrow.parquet

    return pyarrow.concat_tables(map(pyarrow.parquet.read_table, files)).to_pylist()


def duckdb(files):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # As text, because the module reads times with a zone by another package.
    cursor = connection.execute(
        """SELECT * REPLACE (strftime("at", '%Y-%m-%dT%H:%M:%S.%f+00:00') AS "at")
           FROM read_parquet(?)""",
        [files],
    )
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def polars(files):
    import polars

    return polars.read_parquet(files).to_dicts()


def datafusion(files):
    import datafusion

    rows = []
    for file in files:
        frame = datafusion.SessionContext().read_parquet(file)
        for batch in frame.collect():
            rows += batch.to_pylist()
    return rows


def plain(name, value):
    """What PostgreSQL prints of a value in JSON. A type that it would be wrong to have is an error."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray)) and name == "tag":
        # Not every program has a type for them.
        return str(uuid.UUID(bytes=bytes(value)))
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [plain(name, element) for element in value]
    raise TypeError(f"{value!r} is a {type(value)}")


reader, files = sys.argv[1], sys.argv[2:]
for row in globals()[reader](files):
    print(json.dumps({name: plain(name, value) for name, value in row.items()}))
