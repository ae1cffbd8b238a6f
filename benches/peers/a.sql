-- A bank: pgbench's tables at scale 100, with primary and foreign keys.
SELECT (100 * :scale)::int AS branches \gset
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88));
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84));
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_branches SELECT i, 0 FROM generate_series(1, :branches) AS i;
INSERT INTO pgbench_tellers SELECT i, (i - 1) / 10 + 1, 0 FROM generate_series(1, 10 * :branches) AS i;
INSERT INTO pgbench_accounts
  SELECT i, (i - 1) / 100000 + 1, 0, '' FROM generate_series(1, 100000 * :branches) AS i;
ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid), ADD FOREIGN KEY (bid) REFERENCES pgbench_branches;
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid), ADD FOREIGN KEY (bid) REFERENCES pgbench_branches;
ALTER TABLE pgbench_history ADD FOREIGN KEY (tid) REFERENCES pgbench_tellers,
  ADD FOREIGN KEY (bid) REFERENCES pgbench_branches, ADD FOREIGN KEY (aid) REFERENCES pgbench_accounts;
VACUUM ANALYZE;
