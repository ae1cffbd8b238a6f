"""Google Cloud Storage's XML API as far as a spool uses it: that of S3, but that an object is created
only if absent by a condition of another name, and S3's condition means nothing. It takes the
arguments of localbucket.

Source: Google Cloud's reference of the XML API, headers for preconditions.
"""

import localbucket


class Handler(localbucket.S3Handler):
    def parse_request(self):
        parsed = super().parse_request()
        if parsed:
            del self.headers["If-None-Match"]
            if self.headers.get("x-goog-if-generation-match") == "0":
                self.headers["If-None-Match"] = "*"
        return parsed


localbucket.S3Handler = Handler
localbucket.main()
