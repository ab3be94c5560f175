package attachment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// checkName begins with a '.', as what a write has left behind, which Load removes.
const checkName = ".check"

// Check writes a file as a record is written, to the disk and then under another name,
// and removes it. It takes as long as the disk does, and is not to be called while it runs.
func (j *Journal) Check() error {
	j.writing <- struct{}{}
	defer func() { <-j.writing }()
	path := filepath.Join(j.dir, checkName)
	err := writeSynced(path, []byte("this is made and removed to see whether records can be written\n"))
	if err == nil {
		renamed := path + ".renamed"
		if err = os.Rename(path, renamed); err == nil {
			err = os.Remove(renamed)
		}
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

// writeSynced has what is written on the disk when it returns.
func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
