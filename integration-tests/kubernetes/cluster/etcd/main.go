// SPDX-License-Identifier: MIT

// etcd as its own project builds it; that project's go.mod, too, points into its own tree.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
