// Creates a container of Azure Blob Storage: node container.js URL ACCOUNT KEY
const { createHmac } = require("crypto");
const { request } = require("http");

const [, , url, account, key] = process.argv;
const { pathname } = new URL(url);
const headers = {
  "x-ms-date": new Date().toUTCString(),
  "x-ms-version": "2023-11-03",
};
const signed = [
  "PUT",
  ...Array(11).fill(""),
  ...Object.entries(headers).map(([name, value]) => `${name}:${value}`),
  `/${account}${pathname}`,
  "restype:container",
].join("\n");
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(signed).digest("base64");
headers.Authorization = `SharedKey ${account}:${signature}`;
headers["Content-Length"] = 0;

request(`${url}?restype=container`, { method: "PUT", headers }, (answer) => {
  answer.pipe(process.stderr);
  process.exitCode = answer.statusCode === 201 ? 0 : 1;
}).end();
